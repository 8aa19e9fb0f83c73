"""Looking on: waiting for operations, following events."""

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from arable.cli import names, waiting
from arable.cli.nouns import NOUNS
from arable.cli.output import Format, cell
from arable.cli.speaking import Cli, command

if TYPE_CHECKING:
    from arable.wire.events import EventOut, EventStreamQuery


def _wait(
    cli: Cli,
    operation: Annotated[list[str], typer.Argument(metavar="ID", help="The operation's id.")],
    timeout: Annotated[
        int, typer.Option(help="How many seconds to wait at most.", min=0, metavar="SECONDS")
    ] = 3600,
) -> None:
    """Wait until an operation is done, and show its progress meanwhile.

    Ends with status 1 when it failed, or when it is not done in time.
    """
    cli.timeout = timeout
    ids = [names.id_of(cli, NOUNS["operation"], each) for each in operation]
    done = waiting.until_done(cli, ids)
    cli.show(done if len(done) > 1 or cli.form is Format.TABLE else done[0], NOUNS["operation"].columns)  # fmt: skip


def _follow(
    cli: Cli,
    kind: Annotated[
        str | None, typer.Option(help="Only of this kind, or its beginning up to a dot.")
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="Only of this: an id, or a noun and a name, such as machine/web."),
    ] = None,
    account: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    after: Annotated[
        int | None,
        typer.Option(
            help="Begin after this number; 0: from the first one. [default: now]",
            min=0,
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="End after so many.", min=1, metavar="NUMBER")
    ] = None,
) -> None:
    """Follow events as they happen, until Ctrl-C.

    With `--output json` each event is a line of its own.
    """
    import msgspec

    from arable.cli.fields import built
    from arable.wire.events import EventStreamQuery

    said = {
        "kind": kind,
        "subject": subject and names.resolve(cli, "subject", subject),
        "account": account and names.resolve(cli, "account", account),
        "after": None if after is None else str(after),
    }
    query = built(EventStreamQuery, {k: v for k, v in said.items() if v is not None}, ())
    for count, event in enumerate(_events(cli, query), 1):
        match cli.form:
            case Format.JSON:
                typer.echo(msgspec.json.encode(event).decode())
            case Format.YAML:
                typer.echo("---")
                cli.show(event)
            case Format.TABLE:
                plain = msgspec.to_builtins(event)
                typer.echo("  ".join(cell(plain[name]) for name in NOUNS["event"].columns))
        if count == limit:
            return


def _events(cli: Cli, query: "EventStreamQuery") -> "Iterator[EventOut]":
    """Without a gap when the server was away: from the one after the last that was seen."""
    from arable.client.errors import Unavailable, Unreachable

    last: int | None = None
    away = 0
    while True:
        try:
            for event in cli.cloud.events.stream(query, last=last):
                last, away = event.number, 0
                yield event
        except (Unreachable, Unavailable) as error:  # the server, or what is behind it
            away += 1
            if away > waiting.TRIES:
                raise
            if away == 1:
                cli.note(f"{error}; trying again")
            threading.Event().wait(waiting.PAUSE)


wait = command(_wait)
follow = command(_follow)
