"""`arable server`: one management server. The API on one port, the agents' gateway on another, controllers within.

Everything that lasts is in its database and its data directory (the authority's key, image files). Any number of them
may share one PostgreSQL; the one that holds the lease runs the controllers.
"""

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop

from arable.api import app, console
from arable.api.gateway.calls import Calls
from arable.api.gateway.channels import Channels
from arable.api.gateway.server import Gateway
from arable.api.routes import OPERATIONS
from arable.controllers.loop import Loop
from arable.controllers.settle import settle
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.ids import HostId, UserId
from arable.drivers.storage.image_store import ImageStore
from arable.processes.alone import only_one
from arable.runtime.allocator import return_large_blocks
from arable.runtime.ca import Authority, IdentityKind, keep, new_request, server_context
from arable.runtime.clock import Clock, RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.tickets import Tickets
from arable.services import bootstrap
from arable.services.call import Surroundings
from arable.services.desk import Desk
from arable.store import hosts, migrate
from arable.store.database import Database
from arable.store.nudges import Nudges
from arable.store.writer import Writer

log = logging.getLogger(__name__)

READY = "server.json"
OPERATOR = "operator.json"
_CERTIFICATE_HOURS = 7 * 24
_RENEW_SECONDS = 12 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What an operator decides about a management server. Addresses are HOST:PORT; port 0 takes any that is free."""

    data: Path
    database: str = ""  # a URL; empty: SQLite in the data directory
    api: str = "127.0.0.1:8480"
    gateway: str = "127.0.0.1:8443"
    gateway_fd: int | None = None  # a listening socket that was handed to us, instead of `gateway`
    names: Sequence[
        str
    ] = ()  # by which agents reach the gateway, besides the address it listens on
    certificate: Path | None = None  # TLS of the API: its chain and its key, PEM
    key: Path | None = None
    inbox: Path | None = None  # where operators lay image files

    def url(self) -> str:
        """The database's."""
        return self.database or f"sqlite:///{self.data / 'arable.sqlite'}"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What a running server writes into `server.json`: where it answers, and who it is."""

    api: str
    gateway: str
    pid: int
    fingerprint: str  # SHA-256 of the authority's certificate


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The first operator's, as they are kept in `operator.json`."""

    name: str
    password: str


@dataclass(slots=True)
class Server:
    """A management server put together on the running event loop; `serving` makes it listen."""

    config: ServerConfig
    database: Database
    writer: Writer
    loop: Loop
    around: Surroundings
    channels: Channels
    calls: Calls
    gateway: Gateway
    api: app.Server
    ready: Ready | None = field(default=None)


def run(config: ServerConfig) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    return_large_blocks()
    with only_one(config.data):
        uvloop.run(_live(config, RealClock(), Entropy.system()))


async def _live(config: ServerConfig, clock: Clock, entropy: Entropy) -> None:
    told = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, told.set)
    async with serving(assemble(config, clock, entropy)) as server:
        assert server.ready, "it listens"
        spare_the_collector()
        path = config.data / READY
        keep(path, msgspec.json.encode(server.ready).decode(), entropy)
        log.info("API at %s, agents' gateway at %s", server.ready.api, server.ready.gateway)
        try:
            await told.wait()
        finally:
            path.unlink(missing_ok=True)


def spare_the_collector() -> None:
    """What was loaded stays, and what a request leaves behind is rarely a cycle: look less often, and at less."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def assemble(config: ServerConfig, clock: Clock, entropy: Entropy) -> Server:
    """Constructors, top to bottom. The data directory is there, and ours alone."""
    data = config.data
    _check_doors(config)
    database = Database(config.url())
    migrate.upgrade(database)
    ids = Ids(clock, entropy)
    first = bootstrap.ensure(database, clock, entropy, ids)
    if first is not None:
        made = Credentials(name=first.name, password=first.password.reveal())
        keep(data / OPERATOR, msgspec.json.encode(made).decode(), entropy)
    authority = Authority.open(data / "authority", clock, entropy)
    tickets: Tickets[Any] = Tickets(clock, entropy)
    around = Surroundings(
        clock,
        entropy,
        ids,
        ImageStore(data / "images"),
        authority,
        inbox=config.inbox,
        consoles=tickets,
    )
    writer = Writer(database)
    name = _name(data, entropy)
    loop = Loop(writer, clock, name)
    desk = Desk(database, writer, around, name, settle)
    channels = Channels(desk, clock)

    async def identify(scope: Any) -> UserId | None:
        return await api.identify(scope)  # made below, before anybody comes

    consoles = console.Consoles(tickets, channels.open_console, entropy, identify=identify)
    calls = Calls(desk, consoles, clock)
    tls = _tls(config, authority, entropy)
    gateway = Gateway(calls, channels, clock, tls)
    api = app.build(OPERATIONS, database, writer, around, routes=[console.route(consoles)])

    def committed(nudges: Nudges) -> None:
        api.nudged(nudges.topics)
        channels.nudge({HostId(host) for host in nudges.hosts})
        loop.nudge(nudges.topics)

    writer.committed = committed
    return Server(config, database, writer, loop, around, channels, calls, gateway, api)


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    """Take work on both ports until the end of the block, then finish what was accepted."""
    config = server.config
    bound = listening(config.api, "api")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.database.close)
        server.writer.start()
        stack.push_async_callback(_off_loop, server.writer.stop)
        await asyncio.wrap_future(server.writer.submit(lambda tx: hosts.begun(tx, server.loop.me)))
        server.loop.start()
        stack.push_async_callback(_off_loop, server.loop.stop)
        server.channels.start()
        stack.callback(server.calls.close)
        stack.push_async_callback(server.gateway.stop)
        stack.push_async_callback(server.channels.stop)
        door = _gateway_socket(config)
        host, port = await server.gateway.start(door)
        renewing = asyncio.create_task(_renew(server))
        stack.callback(renewing.cancel)
        await stack.enter_async_context(_http(server.api, bound, config))
        scheme = "https" if config.certificate else "http"
        server.ready = Ready(
            api=f"{scheme}://{_address(bound)}",
            gateway=f"{host}:{port}",
            pid=os.getpid(),
            fingerprint=server.around.authority.fingerprint,
        )
        yield server


def listening(where: str, what: str) -> socket.socket:
    """A socket on HOST:PORT. Raises `BadInput` for what is no such thing, `Conflict` when it is taken."""
    host, port = _split(where, what)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        told = f"can't listen at {where}: {error.strerror}; choose another address with --{what}"
        raise Conflict(told) from error


def credentials(data: Path) -> Credentials:
    """Those of the first operator, from the data directory; raises `NotFound`."""
    try:
        return msgspec.json.decode((data / OPERATOR).read_bytes(), type=Credentials)
    except FileNotFoundError as error:
        raise NotFound(
            f"no operator's credentials in {data}: its server has not started yet"
        ) from error


def _split(where: str, what: str) -> tuple[str, int]:
    host, _, port = where.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise BadInput(f"{where!r} is not HOST:PORT", field=what)
    return host.strip("[]"), int(port)


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_doors(config: ServerConfig) -> None:
    """Passwords and tokens don't go over a network in the clear."""
    if (config.certificate is None) != (config.key is None):
        raise BadInput(
            "a certificate needs its key, and a key its certificate", field="certificate"
        )
    host, _ = _split(config.api, "api")
    if config.certificate is None and not _loopback(host):
        raise BadInput(
            f"{host} can be reached from elsewhere: give --certificate and --key, or listen on 127.0.0.1"
            " behind a proxy that speaks TLS",
            field="api",
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(directory: Path, entropy: Entropy) -> str:
    """The server's own name, drawn on its first start: leases are held by it."""
    path = directory / "name"
    if not path.exists():
        keep(path, f"server-{entropy.letters(12)}", entropy)
    return path.read_text().strip()


def _gateway_socket(config: ServerConfig) -> socket.socket:
    if config.gateway_fd is None:
        return listening(config.gateway, "gateway")
    try:
        return socket.socket(fileno=config.gateway_fd)
    except OSError as error:
        raise BadInput(
            f"descriptor {config.gateway_fd} is no socket", field="gateway-fd"
        ) from error


def _names(config: ServerConfig) -> list[str]:
    """What the gateway's certificate says it is called."""
    if config.gateway_fd is not None:
        with socket.socket(fileno=os.dup(config.gateway_fd)) as handed:
            host = str(handed.getsockname()[0])
    else:
        host, _ = _split(config.gateway, "gateway")
    everywhere = host in {"0.0.0.0", "::"}  # noqa: S104 - asked, not bound
    return sorted({*config.names, *(() if everywhere else (host,)), "localhost", "127.0.0.1"})


def _certify(config: ServerConfig, authority: Authority, entropy: Entropy) -> tuple[Path, Path]:
    """A fresh certificate for the gateway; it is cheap, so each start has its own.

    Its file goes on with the authority's, so that both are shown: whoever joins looks for the authority there.
    """
    made = new_request("server")
    signed = authority.sign(
        made.request, "server", IdentityKind.SERVER, _CERTIFICATE_HOURS, _names(config)
    )
    certificate, key = config.data / "gateway.pem", config.data / "gateway.key"
    keep(key, made.key, entropy)
    keep(certificate, signed + authority.pem, entropy)
    return certificate, key


def _tls(config: ServerConfig, authority: Authority, entropy: Entropy) -> ssl.SSLContext:
    certificate, key = _certify(config, authority, entropy)
    return server_context(certificate, key, authority.pem, joining=True)


async def _renew(server: Server) -> None:
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        made = _certify(server.config, server.around.authority, server.around.entropy)
        server.gateway.refresh(partial(_load, made))


def _load(made: tuple[Path, Path], context: ssl.SSLContext) -> None:
    context.load_cert_chain(*made)


@contextlib.asynccontextmanager
async def _http(
    application: app.Server, bound: socket.socket, config: ServerConfig
) -> AsyncIterator[None]:
    """Serve HTTP on a socket until the end of the block."""
    settings = uvicorn.Config(
        application,
        http="httptools",
        ws=console.ConsoleWebSocket,  # its log names no tickets
        ws_max_size=console.MOST,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is the other end of the socket, whatever headers say
        timeout_graceful_shutdown=3,
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
    )
    http = _Http(settings)
    task = asyncio.create_task(http.serve([bound]))
    up = asyncio.create_task(http.up.wait())
    await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        up.cancel()
        task.result()
        raise Conflict("the API did not come up; the log says why")
    try:
        yield
    finally:
        application.leaving()
        http.should_exit = True
        await task


class _Http(uvicorn.Server):
    """uvicorn without its hands on our signals, and with a word when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def _off_loop(work: Any) -> None:
    """Something that waits for a thread, which may wait for this loop."""
    await asyncio.get_running_loop().run_in_executor(None, work)
