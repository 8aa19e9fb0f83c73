"""The grid of `arable up`, where its topology has one: a grid manager beside the regions, and each of them joined."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

from arable.client.arable import Arable
from arable.lab import servers
from arable.lab.power import Site
from arable.lab.topology import GRID, GRID_PORT, Region
from arable.processes import children
from arable.processes.ready import GridReady
from arable.runtime.clock import Clock
from arable.wire.regions import GridTokenIn, JoinGridIn

_ALONE = "alone"
_API = ["--api", "127.0.0.1:0"]


def emulated(site: Site, data: Path) -> GridReady:
    """A grid manager on its own device of the lab."""
    (server,) = [one for region, one in servers.of(site.place.read().topology) if not region]
    process = servers.start(
        site, server, [*_program(data), "--listen", f"{server.address}:{GRID_PORT}", *_API]
    )
    log = site.place.log(f"server-{GRID}")
    ready = children.await_grid_ready(data, process.pid, lambda: process.alive, log, site.clock)
    servers.answers(site, server, process, ready.api)
    return ready


def simulated(data: Path, clock: Clock, stack: ExitStack) -> tuple[GridReady, "Popen[bytes]"]:
    """A grid manager on this machine's loopback, as long as the stack."""
    log = data / "server.log"
    argv = [*_program(data), "--listen", "127.0.0.1:0", *_API]
    process = stack.enter_context(children.child(argv, log))

    ready = children.await_grid_ready(data, process.pid, lambda: process.poll() is None, log, clock)
    return ready, process


def _program(data: Path) -> list[str]:
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [sys.executable, "-m", "arable.processes.main", "grid", "up", "--data", str(data)]


def join(manager: Arable, ready: GridReady, region: Region, operator: Arable) -> None:
    """The region is one of the grid; again: it stays what it is."""
    if operator.grid.status().role != _ALONE:
        return
    token = manager.grid.token(GridTokenIn(region=region.name)).token
    assert token, "a fresh token is told"
    operator.regions.join(JoinGridIn(grid=ready.listen, token=token, name=region.name))


def told(ready: GridReady, credentials: Path) -> Iterator[str]:
    """What one may do with it."""
    yield f"  the grid         arable login --profile grid --url {ready.api} --credentials {credentials}"
    yield "  then             arable grid status --profile grid; arable region list"
