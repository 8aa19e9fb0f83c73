"""`arable grid up`: the grid manager. Regions on one port (mutual TLS), its operators' API on another.

It is a store with two doors: nothing runs by itself in it, and no region waits for it. Its API is that of a management
server as far as it has the same things (users, events, settings, regions), so one program talks to both.
"""

import asyncio
import contextlib
import logging
import os
import signal
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop

from arable.api import app
from arable.api.grid.manager import ManagerApp
from arable.api.grid.port import GridPort
from arable.api.operation import Op
from arable.api.routes import accounts, operations, regions, settings, users
from arable.console import pages as console_pages
from arable.drivers.storage.image_store import ImageStore
from arable.processes.alone import only_one
from arable.processes.http import serving_http
from arable.processes.ready import GRID, OPERATOR, Credentials, GridReady
from arable.processes.regions_time import keep_hearing, regions_time
from arable.processes.server import (
    address_of,
    check_api,
    door,
    listening,
    off_loop,
    spare_the_collector,
)
from arable.runtime.ca import Authority, IdentityKind, keep, new_request, server_context
from arable.runtime.clock import Clock, RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.services import bootstrap
from arable.services.call import GridRole, Surroundings
from arable.store import grid_members, migrate
from arable.store.database import Database
from arable.store.notices import Listener
from arable.store.nudges import Nudges
from arable.store.writer import Writer
from arable.wire.grid import GRID_NAME

log = logging.getLogger(__name__)

OPERATIONS: tuple[Op, ...] = (
    *users.OPERATIONS,
    *accounts.OPERATIONS,
    *operations.OPERATIONS,
    *settings.OPERATIONS,
    *regions.OPERATIONS,
)
_CERTIFICATE_HOURS = 7 * 24
_RENEW_SECONDS = 12 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GridConfig:
    """What an operator decides about a grid manager. Addresses are HOST:PORT; port 0 takes any that is free."""

    data: Path
    database: str = ""  # a URL; empty: SQLite in the data directory
    listen: str = "127.0.0.1:8444"
    api: str = "127.0.0.1:8481"
    api_fd: int | None = None  # a listening socket that was handed to us, instead of `api`
    certificate: Path | None = None  # TLS of the API: its chain and its key, PEM
    key: Path | None = None

    def url(self) -> str:
        """The database's."""
        return self.database or f"sqlite:///{self.data / 'arable.sqlite'}"


@dataclass(slots=True)
class GridManager:
    """A grid manager put together on the running event loop; `serving` makes it listen."""

    config: GridConfig
    database: Database
    writer: Writer
    around: Surroundings
    port: GridPort
    api: app.Server
    listener: Listener
    ready: GridReady | None = field(default=None)


def run(config: GridConfig) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with only_one(config.data):
        uvloop.run(_live(config, RealClock(), Entropy.system()))


async def _live(config: GridConfig, clock: Clock, entropy: Entropy) -> None:
    told = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, told.set)
    async with serving(assemble(config, clock, entropy)) as grid:
        assert grid.ready, "it listens"
        spare_the_collector()
        path = config.data / GRID
        keep(path, msgspec.json.encode(grid.ready).decode(), entropy)
        log.info("API at %s, regions' port at %s", grid.ready.api, grid.ready.listen)
        try:
            await told.wait()
        finally:
            path.unlink(missing_ok=True)


def assemble(config: GridConfig, own: Clock, entropy: Entropy) -> GridManager:
    """Constructors, top to bottom. The data directory is there, and ours alone. `own` is this machine's clock."""
    check_api(config.api, config.api_fd, config.certificate, config.key)
    data = config.data
    database = Database(config.url(), GRID_NAME)
    migrate.upgrade(database)
    with database.read() as tx:
        grid_members.check_no_region(tx)
    clock = regions_time(database, own)
    ids = Ids(clock, entropy)
    authority = Authority.open(data / "authority", clock, entropy)
    first = bootstrap.ensure(database, clock, entropy, ids)
    if first is not None:
        made = Credentials(name=first.name, password=first.password.reveal())
        keep(data / OPERATOR, msgspec.json.encode(made).decode(), entropy)
    around = Surroundings(
        clock,
        entropy,
        ids,
        ImageStore(data / "images"),
        authority,
        grid_role=GridRole.GRID,
    )
    writer = Writer(database, clock=clock)
    api = app.build(OPERATIONS, database, writer, around, routes=console_pages.routes())

    def nudged(nudges: Nudges) -> None:
        api.nudged(nudges.topics)

    writer.committed = nudged
    port = GridPort(ManagerApp(writer, around), _tls(data, authority, entropy))
    listener = Listener(database, GRID_NAME, nudged)
    return GridManager(config, database, writer, around, port, api, listener)


@contextlib.asynccontextmanager
async def serving(grid: GridManager) -> AsyncIterator[GridManager]:
    """Take work on both ports until the end of the block, then finish what was accepted."""
    config = grid.config
    bound = door(config.api, config.api_fd, "api")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(grid.database.close)
        grid.writer.start()
        stack.push_async_callback(off_loop, grid.writer.stop)
        grid.listener.start()
        stack.push_async_callback(off_loop, grid.listener.stop)
        host, port = await grid.port.start(listening(config.listen, "listen"))
        stack.push_async_callback(grid.port.stop)
        renewing = asyncio.create_task(_renew(grid))
        stack.callback(renewing.cancel)
        hearing = asyncio.create_task(keep_hearing(grid.database, grid.around.clock))
        stack.callback(hearing.cancel)
        http = serving_http(grid.api, bound, config.certificate, config.key, grid.api.leaving)
        await stack.enter_async_context(http)
        scheme = "https" if config.certificate else "http"
        grid.ready = GridReady(
            api=f"{scheme}://{address_of(bound)}",
            listen=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            pid=os.getpid(),
            fingerprint=grid.around.authority.fingerprint,
        )
        yield grid


def certify(data: Path, authority: Authority, entropy: Entropy) -> Path:
    """A fresh certificate. The authority's goes on with it, so that both are shown: whoever joins looks for it there."""
    made = new_request(GRID_NAME)
    signed = authority.sign(made.request, GRID_NAME, IdentityKind.GRID, _CERTIFICATE_HOURS)
    path = data / "grid.pem"
    keep(path, made.key.reveal() + signed + authority.pem, entropy)
    return path


def _tls(data: Path, authority: Authority, entropy: Entropy) -> ssl.SSLContext:
    path = certify(data, authority, entropy)
    return server_context(path, path, authority.pem, joining=True)


async def _renew(grid: GridManager) -> None:
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        path = certify(grid.config.data, grid.around.authority, grid.around.entropy)
        grid.port.refresh(lambda context, path=path: context.load_cert_chain(path, path))  # type: ignore[misc]
