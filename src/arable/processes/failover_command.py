"""`arable failover`: its options, and what it says."""

import sys
from datetime import datetime
from typing import Annotated

import typer

from arable.domain.errors import BadInput
from arable.processes.data_option import Data
from arable.processes.failover import Failover, Found
from arable.processes.foreseen import told
from arable.runtime.ca import Authority
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.store.database import Database

OLD = "ARABLE_OLD_DATABASE"


def command(
    data: Data,
    database: Annotated[
        str,
        typer.Option(
            envvar="ARABLE_DATABASE",
            help="URL of this site's PostgreSQL, the replica. A URL with a password belongs into the environment.",
        ),
    ] = "",
    old_database: Annotated[
        str,
        typer.Option(
            envvar=OLD, help="URL of the primary, to be shut for writing if it still answers."
        ),
    ] = "",
    fence: Annotated[
        bool,
        typer.Option(help="Shut the old primary, where it answers, and wait for all it wrote."),
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Promote this site's database, and have this site's management servers begin.

    Said on a machine of the second site, with the data directory of one of its management servers. Machines are not
    touched: their hosts come over when they can't reach the first site any more, or are told so by DNS.
    """
    clock, entropy = RealClock(), Entropy.system()
    with told():
        if not database:
            raise BadInput("say which database with --database, or in ARABLE_DATABASE", field="database")  # fmt: skip
        authority = Authority.load(data / "authority", clock, entropy)
        this = Database(database)
        old = Database(_impatient(old_database)) if old_database else None
        try:
            work = Failover.of(this, old, authority, clock, entropy)
            found = work.look()
            for line in _told(found, asked_old=old is not None, now=work.clock.now()):
                typer.echo(line)
            _confirm(yes=yes)
            begun = work.clock.now()
            if fence and found.old_answers:
                work.fence(typer.echo)
            work.promote(typer.echo)
            servers = work.await_servers(begun)
        finally:
            this.close()
            if old is not None:
                old.close()
    if servers:
        typer.echo(f"serving: {', '.join(servers)}")
    else:
        typer.echo("no management server has begun yet: start one here, with this database")
    typer.echo(
        "now let the name that agents and callers use lead here; hosts are told nothing before all have said"
        " what they run (one that never will: arable host maintenance HOST)"
    )


def _told(found: Found, *, asked_old: bool, now: datetime) -> list[str]:
    if found.promoted:
        return ["this database was promoted already, and nothing more: going on from there"]
    behind = found.behind
    assert behind is not None, "it is a replica"
    last = "nothing yet"
    if behind.last is not None:
        last = f"a transaction of {(now - behind.last).total_seconds():.1f} s ago"
    tie = "follows its primary" if behind.follows else "has no connection to its primary"
    lines = [
        f"the replica {tie}; the last it did: {last}, {behind.waiting} bytes are still to be done"
    ]
    if found.old_answers:
        lines.append(
            "the old primary answers: it will be shut for writing first, and nothing is lost"
        )
    elif asked_old:
        lines.append("the old primary does not answer: what it did not send is lost")
    else:
        lines.append(
            f"nobody said where the old primary is (--old-database or {OLD}): make sure that it does not run any more"
        )
    return lines


def _confirm(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput("there is no terminal to ask: say --yes to go on")
    typer.confirm("Make this site the first one?", abort=True, err=True)


def _impatient(url: str) -> str:
    """The primary may be the very thing that has gone."""
    if "connect_timeout" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}connect_timeout=3"
