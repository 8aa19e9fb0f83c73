"""`arable server`: one management server. API and console on one port, the agents' gateway on another, controllers within.

Everything that lasts is in its database and its data directory (the authority's key, image files). Any number of them
may share one PostgreSQL; the one that holds the lease runs the controllers.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvicorn
from starlette.routing import BaseRoute

from arable.api import app
from arable.api.routes import OPERATIONS
from arable.controllers.loop import Loop
from arable.domain.errors import NotFound
from arable.drivers.storage.image_store import ImageStore
from arable.runtime.ca import Authority
from arable.runtime.clock import Clock, RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.services import bootstrap
from arable.services.call import Surroundings
from arable.store import migrate
from arable.store.database import Database
from arable.store.nudges import Nudges
from arable.store.writer import Writer

log = logging.getLogger(__name__)


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What a running server writes into `server.json`: where it answers, and who it is."""

    api: str
    gateway: str
    pid: int
    fingerprint: str  # SHA-256 of the authority's certificate


@dataclass(slots=True)
class Parts:
    """A management server put together, not yet listening."""

    database: Database
    writer: Writer
    loop: Loop
    around: Surroundings
    api: app.Server

    def start(self) -> None:
        """Begin to take work."""
        self.writer.start()
        self.loop.start()

    def stop(self) -> None:
        """Finish what was accepted."""
        self.loop.stop()
        self.writer.stop()
        self.database.close()


def authority_in(directory: Path, clock: Clock, entropy: Entropy) -> Authority:
    """The authority kept there, made on the first start."""
    try:
        return Authority.load(directory, clock=clock, entropy=entropy)
    except NotFound:
        return Authority.create(directory, clock=clock, entropy=entropy)


def server_name(directory: Path, entropy: Entropy) -> str:
    """This server's own name, drawn on its first start: leases are held by it."""
    path = directory / "name"
    if not path.exists():
        path.write_text(f"server-{entropy.letters(12)}\n")
    return path.read_text().strip()


def assemble(
    data: Path,
    url: str,
    clock: Clock,
    entropy: Entropy,
    routes: Sequence[BaseRoute] = (),
) -> Parts:
    """Constructors, top to bottom."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(url)
    migrate.upgrade(database)
    ids = Ids(clock, entropy)
    authority = authority_in(data / "authority", clock, entropy)
    around = Surroundings(clock, entropy, ids, ImageStore(data / "images"), authority)
    writer = Writer(database)
    loop = Loop(writer, clock, server_name(data, entropy))
    api = app.build(OPERATIONS, database, writer, around, routes=routes)

    def committed(nudges: Nudges) -> None:
        api.nudged(nudges.topics)
        loop.nudge(nudges.topics)

    writer.committed = committed
    first = bootstrap.ensure(database, clock, entropy, ids)
    if first is not None:
        keep_credentials(data, first.name, first.password.reveal())
    return Parts(database, writer, loop, around, api)


def keep_credentials(data: Path, name: str, password: str) -> None:
    """The first operator's password, in a file that only this user can read; it is kept nowhere else."""
    path = data / "operator.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode({"name": name, "password": password}))


def listening(where: str) -> socket.socket:
    """A socket on HOST:PORT; port 0 takes any that is free."""
    host, _, port = where.rpartition(":")
    return socket.create_server((host, int(port)), backlog=2048, reuse_port=False)


def address(bound: socket.socket) -> str:
    """HOST:PORT of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"{host}:{port}"


@contextlib.asynccontextmanager
async def serving(application: object, bound: socket.socket) -> AsyncIterator[None]:
    """Serve HTTP on a socket until the end of the block."""
    config = uvicorn.Config(
        application,  # type: ignore[arg-type]
        http="httptools",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is the other end of the socket, whatever headers say
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve([bound]))  # noqa: SLF001 - its public face installs signal handlers
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task


def until_told() -> asyncio.Event:
    """Set by SIGTERM or Ctrl-C."""
    told = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, told.set)
    return told


def clock_and_chance() -> tuple[Clock, Entropy]:
    """The real ones."""
    return RealClock(), Entropy.system()
