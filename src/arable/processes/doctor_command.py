"""`arable doctor`: what this machine can and can't do, before `arable up` finds out."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from arable.drivers import doctor
from arable.drivers.doctor import Finding, Health
from arable.processes.data_option import HOME, default_data

_SIGNS = {Health.OK: "ok", Health.LIMITED: "limited", Health.MISSING: "missing"}
_COLOURS = {Health.OK: "green", Health.LIMITED: "yellow", Health.MISSING: "red"}


class Output(StrEnum):
    """How answers are written."""

    TABLE = "table"
    JSON = "json"


def command(
    data: Annotated[
        Path,
        typer.Option("--data", envvar=HOME, default_factory=default_data, help="Where a cloud's state is or would be.", show_default=False),
    ],
    output: Annotated[Output, typer.Option("--output", "-o", help="How to write the answer.")] = Output.TABLE,
) -> None:  # fmt: skip
    """Say what this machine can and can't do: QEMU, KVM that really runs guests, OVS, namespaces, nftables and so on.

    Ends with status 1 when real hosts can't be emulated here; `arable up --lab sim` works anywhere.
    """
    found = doctor.examine(data)
    real = doctor.can_be_real(found)
    if output is Output.JSON:
        answer = {"real": real, "findings": found}
        typer.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    else:
        _table(found)
        typer.echo()
        typer.echo(
            "This machine can run the real lab."
            if real
            else "This machine can't run the real lab; `arable up --lab sim` simulates its hosts."
        )
    raise typer.Exit(0 if real else 1)


def _table(findings: tuple[Finding, ...]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        sign = typer.style(_SIGNS[finding.health].ljust(7), fg=_COLOURS[finding.health])
        typer.echo(f"{sign}  {finding.name.ljust(width)}  {finding.found}")
        for text in (finding.means, finding.todo and f"to do: {finding.todo}"):
            if text and finding.health is not Health.OK:
                typer.echo(f"{'':7}  {'':{width}}    {text}")
