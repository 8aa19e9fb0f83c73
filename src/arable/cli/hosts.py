"""What operators do with hosts that is more than a call: maintenance in one word, and a host's invitation."""

from typing import Annotated

import typer

from arable.cli import names
from arable.cli.nouns import NOUNS
from arable.cli.speaking import Cli, command
from arable.cli.verbs import Verb


def _maintenance(
    cli: Cli,
    host: Annotated[list[str], typer.Argument(metavar="NAME", help="Name or id of the host.")],
    off: Annotated[bool, typer.Option("--off", help="Out of maintenance again.")] = False,
) -> None:
    """Put a host into maintenance: nothing new is placed there. `--off` takes it out again."""
    from arable.wire.hosts import HostChange

    ids = [names.id_of(cli, NOUNS["host"], each) for each in host]
    done = [
        cli.cloud.hosts.update(each, HostChange(maintenance=not off), **cli.how) for each in ids
    ]
    cli.show(done, NOUNS["host"].columns)


maintenance = command(_maintenance, tries=True, repeats=True)


def _invitation() -> Verb:
    from arable.client.hosts import JoinTokens

    return Verb(NOUNS["join-token"], "create", JoinTokens.create)


invite = _invitation().command()
