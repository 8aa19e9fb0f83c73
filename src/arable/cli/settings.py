"""The cloud's settings: a name and a value each, so they are set as such rather than by options."""

from typing import Annotated, Any

import typer

from arable.cli.faults import Failed, Misused
from arable.cli.fields import built
from arable.cli.nouns import NOUNS
from arable.cli.output import Format
from arable.cli.speaking import Cli, command

_COLUMNS = NOUNS["setting"].columns


def _show_all(cli: Cli) -> None:
    """List all settings, their values, defaults and meaning."""
    cli.show(cli.cloud.settings.get().settings, _COLUMNS)


def _show(
    cli: Cli, name: Annotated[str, typer.Argument(help="The setting's name.", metavar="NAME")]
) -> None:
    """Show a setting: its value, its bounds and what it means."""
    every = {each.name: each for each in cli.cloud.settings.get().settings}
    if name not in every:
        raise Failed(f"there is no setting {name!r}", todo="`arable setting list` shows them")
    cli.show(every[name])


def _change(
    cli: Cli,
    settings: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE", help="`NAME=` alone brings the default back."),
    ],
) -> None:
    """Change settings; what is not named stays."""
    from arable.wire.settings import SettingsChange

    values: dict[str, Any] = {}
    for each in settings:
        name, equals, value = each.partition("=")
        if not equals:
            raise Misused(f"{each!r} is not NAME=VALUE", field="setting")
        values[name] = int(value) if value.lstrip("-").isdigit() else value or None
    answer = cli.cloud.settings.update(built(SettingsChange, {"values": values}, ()), **cli.how)
    changed = [each for each in answer.settings if each.name in values]
    cli.show(changed if cli.form is Format.TABLE else answer, _COLUMNS)


show_all = command(_show_all)
show = command(_show)
change = command(_change, tries=True, repeats=True)
