"""The management servers for a person: who is master, who is there, what happened; and how to take one out of service."""

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from arable.cli import output
from arable.cli.faults import Failed
from arable.cli.output import Format
from arable.cli.speaking import Cli, command

if TYPE_CHECKING:
    from arable.wire.control import ServerOut

_LOOK = 1.0  # seconds between looks at a server that is being drained
_SERVERS = ["name", "state", "master", "farms", "agents", "cpu_percent/cpu%", "memory_mib/mib", "lag_ms", "pending", "sequence", "epoch", "site", "version", "asked", "answer"]  # fmt: skip
_FAILING = ["name", "farm", "since", "tries", "tried_at/last", "server", "told"]
_ELECTIONS = ["epoch", "at", "server", "cause", "agreed"]


def _status(cli: Cli) -> None:
    """Show the management servers: master, heartbeats, load, farms held, and the last elections."""
    found = cli.cloud.control.status()
    if cli.form is not Format.TABLE:
        cli.show(found)
        return
    master, farms = found.master, found.farms
    said = f"{master.server}, epoch {master.epoch}" if master.acting else "nobody acts"
    if master.suspected_by:
        said += f"; not found by {', '.join(master.suspected_by)}"
    summary = {
        "master": said,
        "since": master.since,
        "farms": f"{farms.total}, {farms.unheld} without a server, {farms.unconfirmed} on their way",
    }
    output.write(summary, Format.TABLE)
    tables = [(found.servers, _SERVERS), (found.elections, _ELECTIONS)]
    if farms.failing:
        tables.insert(0, (farms.failing, _FAILING))
    for rows, columns in tables:
        cli.note("")
        output.write(rows, Format.TABLE, columns)


status = command(_status)


def _drain(
    cli: Cli,
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Its name.")],
) -> None:
    """Have other servers do a management server's work, before it is stopped. It is ready again when it is started."""
    from arable.wire.control import ServerChoice

    done = cli.cloud.control.drain(ServerChoice(server=server), **cli.how)
    if cli.waits and not cli.dry_run:
        done = _drained(cli, server)
    cli.show([done], _SERVERS)


def _undrain(
    cli: Cli,
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Its name.")],
) -> None:
    """Let a management server take work again."""
    from arable.wire.control import ServerChoice

    cli.show([cli.cloud.control.undrain(ServerChoice(server=server), **cli.how)], _SERVERS)


def _drained(cli: Cli, server: str) -> "ServerOut":
    """When it has nothing any more that others would miss."""
    told = ""
    for _ in range(max(int(cli.timeout / _LOOK), 1)):
        found = next(each for each in cli.cloud.control.status().servers if each.name == server)
        if not (found.master or found.farms or found.agents) or found.state == "gone":
            return found
        left = f"{found.farms} farms, {found.agents} agents{', master' if found.master else ''}"
        if left != told:
            told = left
            cli.note(f"{server} still has: {told}")
        threading.Event().wait(_LOOK)
    raise Failed(f"{server} is not empty after {cli.timeout} seconds; it still has: {told}")


drain = command(_drain, tries=True, repeats=True, waits=True)
undrain = command(_undrain, tries=True, repeats=True)
