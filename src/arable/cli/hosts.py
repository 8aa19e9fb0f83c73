"""What operators do with hosts that is more than a call: maintenance in one word, and a host's invitation."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from arable.cli import names
from arable.cli.faults import Misused
from arable.cli.fields import built
from arable.cli.nouns import NOUNS
from arable.cli.speaking import Cli, command
from arable.cli.verbs import Verb


def _maintenance(
    cli: Cli,
    host: Annotated[list[str], typer.Argument(metavar="NAME", help="Name or id of the host.")],
    off: Annotated[bool, typer.Option("--off", help="Out of maintenance again.")] = False,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="Stop what can't leave, and start it again when this is over."),
    ] = False,
) -> None:
    """Put a host into maintenance: nothing new is placed there, and what can move while it runs leaves it.

    `arable host show` says what is still there. `--off` takes it out again.
    """
    if off and stop:
        raise Misused("`--off` starts again what was stopped; it takes no `--stop`")
    from arable.wire.hosts import HostChange

    ids = [names.id_of(cli, NOUNS["host"], each) for each in host]
    change = HostChange(maintenance=not off, maintenance_stops=stop)
    done = [cli.cloud.hosts.update(each, change, **cli.how) for each in ids]
    cli.show(done, NOUNS["host"].columns)


maintenance = command(_maintenance, tries=True, repeats=True)


_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the host.")]


def _declare_down(
    cli: Cli,
    host: _Name,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Say that a silent host is down, having made sure: its highly available machines then start elsewhere."""
    id_ = names.id_of(cli, NOUNS["host"], host)
    _confirm(cli, f"Does nothing run on {host} any more, for sure?", yes=yes)
    cli.show([cli.cloud.hosts.declare_down(id_, **cli.how)], NOUNS["host"].columns)


def _remove_lost(
    cli: Cli,
    host: _Name,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Remove a host that will never come back. Disks in its own pool are lost, and their machines say so."""
    id_ = names.id_of(cli, NOUNS["host"], host)
    _confirm(
        cli,
        f"Is {host} off for good, and may all disks in its own pool be given up?",
        yes=yes,
    )
    cli.show([cli.cloud.hosts.remove_lost(id_, **cli.how)], NOUNS["host"].columns)


def _confirm(cli: Cli, question: str, *, yes: bool) -> None:
    if yes or cli.dry_run:
        return
    if not sys.stdin.isatty():
        raise Misused(
            "this has to be confirmed, and there is no terminal to ask at", todo="give --yes"
        )
    typer.confirm(question, abort=True, err=True)


def _power(
    cli: Cli,
    host: _Name,
    on: Annotated[bool, typer.Option("--on", help="Give it power.")] = False,
    off: Annotated[bool, typer.Option("--off", help="Cut its power.")] = False,
    redfish: Annotated[
        str | None, typer.Option(metavar="URL", help="Its BMC: https://…, perhaps with a system.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="To sign in at the BMC with.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its first line is that user's password.")
    ] = None,
    authority: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The authority of the BMC's certificate (PEM)."),
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(metavar="HEX", help="SHA-256 of the BMC's certificate.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Nobody switches it any more.")] = False,
) -> None:
    """Switch a host's power, say by what it is switched, or, without any option, show how it is."""
    from arable.wire.hosts import BmcIn, PowerIn

    if sum((on, off, redfish is not None, forget)) > 1:
        raise Misused("one of --on, --off, --redfish and --forget at a time")
    given = {"--user": user, "--password-file": password_file, "--authority": authority,
             "--fingerprint": fingerprint}  # fmt: skip
    if redfish is None and any(each is not None for each in given.values()):
        raise Misused("that is about a BMC: give its --redfish URL as well", field="--redfish")
    id_ = names.id_of(cli, NOUNS["host"], host)
    if redfish is not None:
        if user is None or password_file is None:
            missing = "--user" if user is None else "--password-file"
            raise Misused("a BMC wants a user and a password", field=missing)
        said = {"url": redfish, "user": user, "password": _first_line(password_file)}
        if authority is not None:
            said["authority"] = _text(authority)
        if fingerprint is not None:
            said["fingerprint"] = fingerprint
        cli.show(cli.cloud.hosts.set_bmc(id_, built(BmcIn, said, ()), **cli.how))
    elif forget:
        cli.cloud.hosts.remove_bmc(id_, **cli.how)
    elif on or off:
        cli.show(cli.cloud.hosts.power(id_, PowerIn(power="on" if on else "off"), **cli.how))
    else:
        cli.show(cli.cloud.hosts.get(id_).bmc or {"driver": "none"})


def _first_line(path: Path) -> str:
    line = _text(path).partition("\n")[0].rstrip("\r")
    if not line:
        raise Misused(f"there is no password in {path}", field="--password-file")
    return line


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{path} can't be read: {error}") from error


declare_down = command(_declare_down, tries=True, repeats=True)
remove_lost = command(_remove_lost, tries=True, repeats=True)
power = command(_power, tries=True, repeats=True)


def _invitation() -> Verb:
    from arable.client.hosts import JoinTokens

    return Verb(NOUNS["join-token"], "create", JoinTokens.create)


invite = _invitation().command()
