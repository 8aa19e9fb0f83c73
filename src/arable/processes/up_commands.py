"""`arable up`: its options, and what it says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from arable.domain.errors import NotFound
from arable.lab import watch
from arable.lab.topology import Topology
from arable.processes import up, up_grid
from arable.processes.data_option import Data
from arable.processes.foreseen import told
from arable.processes.leaving import until_told
from arable.processes.ready import OPERATOR, credentials
from arable.processes.up import Cloud, Say, Wanted, server_data
from arable.runtime.clock import Clock, RealClock

SIMULATED = "sim"


def command(
    data: Data,
    lab: Annotated[
        str,
        typer.Option(
            help="A topology file for the emulated data centre, or `sim` for simulated hosts."
        ),
    ] = "",
    topology: Annotated[
        Path | None, typer.Option(help="With `--lab sim`: how many hosts there are, and where.")
    ] = None,
    api: Annotated[
        str, typer.Option(help="HOST:PORT of the API; port 0 takes any that is free.")
    ] = "127.0.0.1:8480",
    database: Annotated[
        str,
        typer.Option(envvar="ARABLE_DATABASE", help="URL of a PostgreSQL instead of SQLite."),
    ] = "",
) -> None:
    """Bring up a whole cloud on this machine: management server, hosts, agents. Until Ctrl-C."""
    clock = RealClock()
    with told(), until_told():
        wanted = Wanted(
            data=data.resolve(),
            topology=_topology(lab, topology),
            simulated=lab == SIMULATED,
            api=api,
            database=database,
        )
        if not wanted.simulated:
            up.check_machine(wanted.data)
        with up.cloud(wanted, clock, spoken(clock)) as cloud:
            typer.echo(look_around(cloud))
            stay(cloud, clock)


def spoken(clock: Clock) -> Say:
    """Tell each step with the seconds since the first."""
    begun = clock.monotonic()

    def say(text: str) -> None:
        typer.echo(f"{clock.monotonic() - begun:6.1f} s  {text}")

    return say


def look_around(cloud: Cloud) -> str:
    """What one may do now."""
    lines = [
        "",
        "The cloud is up.",
        f"  API              {cloud.url}/v1, described at {cloud.url}/docs",
        f"  console          {cloud.url}/console/",
        f"  first operator   {_first_operator(cloud)}",
        f"  sign in          arable login --url {cloud.url} --credentials {cloud.operator_file}",
        "  then             arable zone list; arable host list; arable machine list",
        *_others(cloud),
    ]
    if cloud.grid is not None:
        lines += up_grid.told(cloud.grid, up.grid_data(cloud.wanted) / OPERATOR)
    if cloud.site is not None:
        at = f"--data {cloud.wanted.data}"
        *_, (_zone, _pod, host) = cloud.wanted.topology.hosts()
        lines += [
            f"  the lab          arable lab status {at}",
            f"  break something  arable lab fail power {host.name} {at}",
        ]
    return "\n".join([*lines, "Ctrl-C takes it down; its data stays for the next `arable up`."])


def _others(cloud: Cloud) -> Iterator[str]:
    """Where else an API answers: further servers of the first region, and other regions, each a cloud by itself."""
    first, *regions = cloud.wanted.topology.regions
    for server in first.management[1:]:
        yield f"  the same API     {cloud.ready[server.name].api} ({server.name})"
    for region in regions:
        url = cloud.ready[region.management[0].name].api
        known = server_data(cloud.wanted, region) / OPERATOR
        yield f"  region {region.name:<10}arable login --profile {region.name} --url {url} --credentials {known}"


def _first_operator(cloud: Cloud) -> str:
    """Told once; whoever missed it finds it in the file, which only its owner can read."""
    if not cloud.is_new:
        return f"as told at the first start; in {cloud.operator_file}"
    first = credentials(cloud.operator_file.parent)
    return f"{first.name}, password {first.password} (in {cloud.operator_file})"


def stay(cloud: Cloud, clock: Clock) -> None:
    """Until we are told to leave; says what ends meanwhile without being asked."""
    if cloud.site is None:
        while True:
            ended = cloud.ended()
            if ended:
                raise NotFound(f"{ended} ended by itself")
            clock.wait(up.LOOK)
    for accident in watch.accidents(cloud.site):
        if accident is not None:
            log = cloud.site.place.log(accident.log)
            typer.echo(f"{accident.what} ended by itself; {log} may say why", err=True)


def _topology(lab: str, given: Path | None) -> Topology:
    if lab == SIMULATED:
        return up.topology_of(given)
    return up.topology_of(Path(lab) if lab else given)
