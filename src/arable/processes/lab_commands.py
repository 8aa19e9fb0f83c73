"""`arable lab …`: look at the emulated data centre that `arable up` built, break it, and mend it."""

import json
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from arable.domain.errors import NotFound, Unavailable
from arable.lab import build, devices, fail, look
from arable.lab.power import Site
from arable.processes.data_option import Data
from arable.processes.foreseen import told
from arable.runtime.clock import RealClock


class Output(StrEnum):
    """How answers are written."""

    TABLE = "table"
    JSON = "json"


Format = Annotated[Output, typer.Option("--output", "-o", help="How to write the answer.")]

app = typer.Typer(
    help="The emulated data centre: look at it, break it, mend it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
fail_app = typer.Typer(
    help="Break something; `arable lab mend` takes the same words.", no_args_is_help=True
)
mend_app = typer.Typer(help="Take a fault back.", no_args_is_help=True)
app.add_typer(fail_app, name="fail")
app.add_typer(mend_app, name="mend")

# word: what breaks, what mends, what is broken
FAULTS: dict[str, tuple[Callable[[Site, str], None], Callable[[Site, str], None], str]] = {
    "link": (
        fail.cut,
        fail.mend,
        "A cable: a host's or pod's name, ZONE or ZONE.public, one of several servers' name, REGION.wan or `grid`.",
    ),
    "agent": (fail.kill_agent, fail.start_agent, "A host's agent, killed."),
    "freeze": (
        fail.freeze,
        fail.thaw,
        "A host, every process of it stopped, or a management server.",
    ),
    "power": (fail.power_off, fail.power_on, "A host's power."),
    "server": (
        fail.kill_server,
        fail.start_server,
        "A management server, killed: a region's name, or one of several servers'; `grid`: the grid manager.",
    ),
}


def site_at(data: Path) -> Site:
    """The lab that is up there."""
    return build.open_site(data, RealClock())


@app.command()
def status(data: Data, output: Format = Output.TABLE) -> None:
    """Show devices, links and management servers."""
    with told():
        seen = look.lab(site_at(data))
    if output is Output.JSON:
        _print_json(seen)
        return
    console = Console()
    _table(
        console,
        ("device", "kind", "zone", "pod", "address", "state", "agent"),
        [(d.name, d.kind, d.zone, d.pod, d.address, d.state, d.agent) for d in seen.devices],
    )
    _table(
        console,
        ("link", "between", "state"),
        [(link.name, link.between, "cut" if link.cut else "whole") for link in seen.links],
    )
    _table(
        console,
        ("server", "region", "address", "state", "process"),
        [(s.name, s.region, s.address, s.state, str(s.pid or "")) for s in seen.servers],
    )
    console.print(f"lab {seen.id}, logs and disks in {seen.directory}", highlight=False)


@app.command(
    name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def execute(
    device: Annotated[str, typer.Argument(help="A host, switch or other device.")],
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after --.")],
    data: Data,
) -> None:
    """Run a program on a device, as if one were logged in there."""
    with told():
        site = site_at(data)
        if device not in site.plan.devices:
            known = ", ".join(sorted(site.plan.devices))
            raise NotFound(f"no device {device!r} in this lab; there are {known}")
        init = site.init(device)
        if init is None:
            raise Unavailable(f"{device} has no power")
        argv = devices.command(init, command[command[0] == "--" :])
    sys.stdout.flush()
    os.execvpe(argv[0], argv, os.environ | devices.environment(site.place.id))  # noqa: S606 - becomes it


@app.command()
def curl(
    url: str,
    data: Data,
    source: Annotated[str, typer.Option("--from", help="The device that asks.")] = "internet",
    output: Format = Output.TABLE,
) -> None:
    """Fetch a page from within the lab, as somebody on its internet."""
    with told():
        page = look.fetch(site_at(data), url, device=source)
    if output is Output.JSON:
        _print_json(page)
    else:
        typer.echo(page.text, nl=not page.text.endswith("\n"))
    raise typer.Exit(0 if page.status < 400 else 1)


@app.command()
def down(data: Data) -> None:
    """Take the lab down, also one that a killed `arable up` left behind. Disks and the database stay."""
    with told():
        build.down(data, RealClock())


def _fault(act: Callable[[Site, str], None]) -> Callable[..., None]:
    def command(name: str, data: Data, output: Format = Output.TABLE) -> None:
        with told():
            act(site_at(data), name)
        if output is Output.JSON:
            typer.echo(json.dumps({"name": name, "done": True}))

    return command


for _word, (_breaks, _mends, _what) in FAULTS.items():
    fail_app.command(_word, help=_what)(_fault(_breaks))
    mend_app.command(_word, help=_what)(_fault(_mends))


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _table(console: Console, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table)
    console.print()
