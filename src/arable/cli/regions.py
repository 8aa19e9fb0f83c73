"""The grid for a person: all regions in one place, one of them closely, and how this cloud becomes one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from arable.cli import names, output
from arable.cli.faults import Misused
from arable.cli.nouns import NOUNS
from arable.cli.output import Format
from arable.cli.speaking import Cli, command

_ALERTS = ["severity", "region", "kind", "name", "since", "text"]
_ZONES = [
    *("name", "enabled", "hosts_up/up", "hosts", "machines", "used_millicpus/millicpus"),
    *("cpu_mhz.reserved/mhz_used", "cpu_mhz.total/mhz"),
    *("memory_mib.reserved/mib_used", "memory_mib.total/mib"),
    *("disk_mib.reserved/disk_used", "disk_mib.total/disk", "free_addresses"),
]


def _status(cli: Cli) -> None:
    """Show all regions together: inventory, capacity, load, faults."""
    found = cli.cloud.grid.status()
    if cli.form is not Format.TABLE:
        cli.show(found)
        return
    summary = {
        "role": found.role,
        "region": found.region,
        "grid manager": found.grid,
        "told": found.told,
        "regions": f"{found.regions}, {found.reached} reached, {found.silent} silent",
        "hosts": f"{found.hosts}, {found.hosts_up} up",
        "machines": found.machines,
        "processors": f"{found.used_millicpus / 1000:.1f} busy;"
        f" {found.cpu_mhz.reserved} of {found.cpu_mhz.total} MHz reserved",
        "memory": f"{found.memory_mib.reserved} of {found.memory_mib.total} MiB reserved",
        "disk": f"{found.disk_mib.reserved} of {found.disk_mib.total} MiB reserved",
        "image versions": found.images,
    }
    output.write({name: value for name, value in summary.items() if value != ""}, Format.TABLE)
    cli.note("")
    _regions(cli)
    if found.alerts:
        cli.note("")
        output.write(found.alerts, Format.TABLE, _ALERTS)


def _regions(cli: Cli) -> None:
    """List regions of the grid, and how old what is known of each is."""
    cli.show(list(cli.cloud.regions.all()), NOUNS["region"].columns)


def _show(
    cli: Cli,
    region: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the region.")],
) -> None:
    """Show a region with its zones, as it was told here last."""
    found = cli.cloud.regions.get(names.id_of(cli, NOUNS["region"], region))
    if cli.form is not Format.TABLE:
        cli.show(found)
        return
    summary = {
        name: getattr(found, name)
        for name in (
            "name",
            "id",
            "state",
            "as_of",
            "told",
            "address",
            "software",
            "images",
            "alerts",
        )
        if getattr(found, name) != ""
    }
    output.write(summary, Format.TABLE)
    cli.note("")
    output.write(found.zones, Format.TABLE, _ZONES)


def _join(
    cli: Cli,
    grid: Annotated[str, typer.Option(metavar="HOST:PORT", help="The grid manager.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="What this region is called there.")],
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its first line is the token. Left out: standard input."),
    ] = None,
) -> None:
    """Make this cloud a region of a grid, by a token of the grid manager's operator (`arable grid token`)."""
    from arable.wire.regions import JoinGridIn

    if token_file is None:
        if sys.stdin.isatty():
            raise Misused("a token is needed", todo="give --token-file, or the token on standard input")  # fmt: skip
        token = sys.stdin.readline().strip()
    else:
        try:
            token = token_file.read_text().partition("\n")[0].strip()
        except OSError as error:
            raise Misused(f"{token_file} can't be read: {error.strerror}", field="--token-file") from error  # fmt: skip
    done = cli.cloud.regions.join(JoinGridIn(grid=grid, token=token, name=name), **cli.how)
    cli.show(done)


status = command(_status)
regions = command(_regions)
show = command(_show)
join = command(_join, repeats=True)
