"""`arable server`: one management server. The API on one port, the agents' gateway on another, controllers within.

Everything that lasts is in its database and its data directory (the authority's key, image files). Any number of them
may share one PostgreSQL; the one that they elected master runs the controllers.
"""

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import re
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from arable.api import app, console, elsewhere
from arable.api.gateway.calls import Calls
from arable.api.gateway.channels import Channels
from arable.api.gateway.server import Gateway
from arable.api.grid import farms as farm_parts
from arable.api.inside import Inside
from arable.api.routes import OPERATIONS
from arable.api.routes.inside import INSIDE
from arable.cluster.times import Times
from arable.console import pages as console_pages
from arable.controllers.grid_wire import GridWire
from arable.controllers.landing import Landing
from arable.controllers.loop import Loop
from arable.controllers.registry import farm_controllers, master_controllers
from arable.controllers.settle import settle
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import HostId, SegmentId, UserId
from arable.drivers.storage.image_store import ImageStore
from arable.processes import standby, succession
from arable.processes.alone import only_one
from arable.processes.grid_images import GridImages, grid_images
from arable.processes.grid_link import GridLink, grid_link
from arable.processes.http import serving_http
from arable.processes.membership import Membership, chosen, membership, serve_loop
from arable.processes.ready import OPERATOR, SERVER, Credentials, Ready
from arable.processes.regions_time import regions_time
from arable.processes.watching import Watching, metrics, watching
from arable.runtime.allocator import return_large_blocks
from arable.runtime.ca import (
    Authority,
    IdentityKind,
    client_context,
    keep,
    new_request,
    server_context,
    until,
)
from arable.runtime.clock import Clock, RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.metrics import Figures
from arable.runtime.sealed import seal, unseal
from arable.runtime.tickets import Tickets
from arable.services import bootstrap
from arable.services.call import Surroundings
from arable.services.desk import Desk
from arable.services.grid_instructions import InstructionHands
from arable.services.hands import FarmHands
from arable.services.image_policies import ImageHands
from arable.services.order_hands import OrderHands
from arable.services.regions import SEALED_FOR
from arable.services.sign_on import KeyHands
from arable.store import hosts, migrate
from arable.store.database import Database
from arable.store.notices import Listener
from arable.store.nudges import Nudges
from arable.store.writer import Writer

log = logging.getLogger(__name__)

_PEER = "peer.pem"  # certificate and key by which this server is known to others
_CERTIFICATE_HOURS = 7 * 24
_RENEW_SECONDS = 12 * 3600.0
_CALLED = re.compile(r"server-[a-z0-9][a-z0-9-]{0,40}")
_ALONE = 5  # times longer between heartbeats that nobody else waits for


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What an operator decides about a management server. Addresses are HOST:PORT; port 0 takes any that is free."""

    data: Path
    database: str = ""  # a URL; empty: SQLite in the data directory
    api: str = "127.0.0.1:8480"
    gateway: str = "127.0.0.1:8443"
    api_fd: int | None = None  # a listening socket that was handed to us, instead of `api`
    gateway_fd: int | None = None  # the same, instead of `gateway`
    names: Sequence[
        str
    ] = ()  # by which agents reach the gateway, besides the address it listens on
    certificate: Path | None = None  # TLS of the API: its chain and its key, PEM
    key: Path | None = None
    inbox: Path | None = None  # where operators lay image files
    drain: float = 0.0  # seconds between saying that we leave and leaving
    segment_address: str = (
        ""  # where other servers reach this one's gateway, HOST:PORT; empty: where it listens
    )
    called: str = ""  # this server's own name, at its first start; empty: drawn
    site: str = ""  # told to others, and to operators
    grid_port: str = ""  # HOST:PORT where other regions of its grid find this one; empty: nowhere
    api_address: str = ""  # URL where people reach the API; empty: not told
    grid_address: str = ""  # where they reach it, HOST:PORT; empty: where it listens
    platform: str = "none"  # what the master restarts servers with: `membership.chosen`
    ping: float = 1.0  # seconds between pings; all spans of the cluster scale with it

    def url(self) -> str:
        """The database's."""
        return self.database or f"sqlite:///{self.data / 'arable.sqlite'}"


@dataclass(slots=True)
class Server:
    """A management server put together on the running event loop; `serving` makes it listen."""

    config: ServerConfig
    database: Database
    writer: Writer
    writers: list[Writer]  # each of them once: where the store takes one alone, that
    loop: Loop
    around: Surroundings
    channels: Channels
    calls: Calls
    gateway: Gateway
    api: app.Server
    watching: Watching
    member: Membership
    listener: Listener
    grid: GridLink
    images: GridImages
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
    if not await _our_turn(config, told):
        return
    async with serving(assemble(config, clock, entropy)) as server:
        assert server.ready, "it listens"
        spare_the_collector()
        path = config.data / SERVER
        keep(path, msgspec.json.encode(server.ready).decode(), entropy)
        log.info("API at %s, agents' gateway at %s", server.ready.api, server.ready.gateway)
        ended = asyncio.create_task(succession.ended(server.database))
        leaving = asyncio.create_task(told.wait())
        try:
            await asyncio.wait({ended, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise Conflict(ended.result())
            await _drain(server, told)
        finally:
            ended.cancel()
            leaving.cancel()
            path.unlink(missing_ok=True)


async def _our_turn(config: ServerConfig, told: asyncio.Event) -> bool:
    """Wait while the database is another one's replica; False: we are to leave."""
    _check_doors(config)
    database = Database(config.url())
    try:
        listen = partial(door, config.api, _again(config.api_fd), "api")
        return await standby.our_turn(database, listen, config.certificate, config.key, told)
    finally:
        database.close()


async def _drain(server: Server, told: asyncio.Event) -> None:
    """Say that we leave, and wait until load balancers have heard it, or we are told once more."""
    server.api.drain()
    if server.config.drain:
        log.info("draining for %g seconds", server.config.drain)
        told.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(server.config.drain):
                await told.wait()


def spare_the_collector() -> None:
    """What was loaded stays, and what a request leaves behind is rarely a cycle: look less often, and at less."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def assemble(config: ServerConfig, own: Clock, entropy: Entropy) -> Server:
    """Constructors, top to bottom. The data directory is there, and ours alone."""
    data = config.data
    _check_doors(config)
    name = _name(data, entropy, config.called)
    database = Database(config.url(), name)
    migrate.upgrade(database)
    clock = regions_time(database, own)
    ids = Ids(clock, entropy)
    authority = Authority.open(data / "authority", clock, entropy)
    succession.take_over(database, authority, clock, ids)
    first = bootstrap.ensure(database, clock, entropy, ids)
    if first is not None:
        made = Credentials(name=first.name, password=first.password.reveal())
        keep(data / OPERATOR, msgspec.json.encode(made).decode(), entropy)
    tickets: Tickets[Any] = Tickets(clock, entropy)
    wire = GridWire(data, entropy, lambda sealed: unseal(authority, sealed, SEALED_FOR))
    store = ImageStore(data / "images")
    around = Surroundings(
        clock,
        entropy,
        ids,
        store,
        authority,
        inbox=config.inbox,
        consoles=tickets,
        partial=store.partial,
        server=SegmentId(name),
        grid=wire,
    )
    figures = Figures()
    writer = Writer(database, clock=clock, figures=figures.writer)
    writers = [writer] if database.is_sqlite else [writer, *_beside(database, clock)]
    hearing, deciding = writers[1:] or (writer, writer)
    member = membership(
        name,
        config.site,
        database,
        writer,
        clock,
        partial(_peer_context, config, authority),
        chosen(config.platform, data, config.database),
        Times().scaled(config.ping * (_ALONE if database.is_sqlite else 1)),
    )
    loop = Loop(
        deciding,
        clock,
        name,
        member.manager.acting,
        master_controllers(
            OrderHands(lambda: around),
            ImageHands(lambda: around),
            KeyHands(lambda: around).keep,
            InstructionHands(lambda: around),
        ),
        figures=figures,
        serving=member.manager.serving,
        entropy=entropy,
        farm_controllers=farm_controllers(FarmHands(lambda: around)),
    )
    around = replace(around, land=Landing(loop.holds))
    serve_loop(member, loop, writers, clock)
    desk = Desk(database, hearing, around, name, settle)
    channels = Channels(desk, clock, figures.gateway, lambda: member.manager.draining)

    async def identify(scope: Any) -> UserId | None:
        return await api.identify(scope)  # made below, before anybody comes

    consoles = console.Consoles(
        tickets,
        channels.open_console,
        entropy,
        identify=identify,
        reach=elsewhere.reach(database, around),
    )

    async def asked_inside(scope: Any, receive: Any, send: Any) -> None:
        await api.inside(scope, receive, send)  # the same

    from_inside = Inside(asked_inside, clock)
    calls = Calls(desk, consoles, clock, member.manager.pong, from_inside)
    tls = _tls(config, authority, entropy)
    gateway = Gateway(calls, channels, clock, tls)
    api = app.build(
        OPERATIONS,
        database,
        writer,
        around,
        routes=[console.route(consoles), *console_pages.routes()],
        metrics=metrics(database, writer, channels, figures, clock),
        drained=lambda: member.manager.draining,
        inside=INSIDE,
    )
    brought = grid_images(database, writer, around, name, wire, store, loop.acts)
    grid = grid_link(
        database,
        lambda work: writer.submit(work).result(),
        clock,
        wire,
        seal=lambda key: seal(authority, entropy, key, SEALED_FOR),
        acts=loop.acts,
        software=metadata.version("arable"),
        listen=_split(config.grid_port, "grid-port") if config.grid_port else None,
        told=config.grid_address,
        api=config.api_address,
        routes=[
            *elsewhere.routes(database, api.done_for),
            elsewhere.console(consoles),
            elsewhere.stream(database, api.done_for),
            farm_parts.route(writer, around),
            *brought.parts.routes(),
        ],
        hands=FarmHands(lambda: around),
    )
    watched = watching(database, writer, loop, around, figures, data / "images", _shown(config))

    def nudged(nudges: Nudges) -> None:
        api.nudged(nudges.topics)
        channels.nudge({HostId(host) for host in nudges.hosts}, desk.news(nudges))
        loop.nudge(nudges.topics)
        grid.nudged(nudges.topics)
        brought.nudged(nudges.topics)

    def committed(nudges: Nudges) -> None:
        nudged(nudges)
        watched.committed(nudges)

    def heard(nudges: Nudges) -> None:
        nudged(nudges)
        watched.heard(nudges)

    for each in writers:
        each.committed = committed
    listener = Listener(database, name, heard)
    return Server(
        config,
        database,
        writer,
        writers,
        loop,
        around,
        channels,
        calls,
        gateway,
        api,
        watched,
        member,
        listener,
        grid,
        brought,
    )


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    """Take work on both ports until the end of the block, then finish what was accepted."""
    config = server.config
    bound = door(config.api, config.api_fd, "api")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.database.close)
        for writer in server.writers:
            writer.start()
            stack.push_async_callback(off_loop, writer.stop)
        await asyncio.wrap_future(server.writer.submit(lambda tx: hosts.begun(tx, server.loop.me)))
        server.loop.start()
        stack.push_async_callback(off_loop, server.loop.stop)
        await stack.enter_async_context(server.watching.running())
        await stack.enter_async_context(server.images.running())
        await stack.enter_async_context(server.grid.running())
        server.channels.start()
        server.listener.start()
        stack.push_async_callback(off_loop, server.listener.stop)
        stack.callback(server.calls.close)
        stack.push_async_callback(server.gateway.stop)
        stack.push_async_callback(server.channels.stop)
        host, port = await server.gateway.start(door(config.gateway, config.gateway_fd, "gateway"))
        server.member.begin(_segment_address(config, host, port))
        stack.push_async_callback(off_loop, server.member.end)
        renewing = asyncio.create_task(_renew(server))
        stack.callback(renewing.cancel)
        http = serving_http(server.api, bound, config.certificate, config.key, server.api.leaving)
        await stack.enter_async_context(http)
        scheme = "https" if config.certificate else "http"
        server.ready = Ready(
            api=f"{scheme}://{address_of(bound)}",
            gateway=f"{host}:{port}",
            pid=os.getpid(),
            fingerprint=server.around.authority.fingerprint,
        )
        yield server


def _beside(database: Database, clock: Clock) -> tuple[Writer, Writer]:
    """A second writer for what hosts say and a third one for what controllers decide: while PostgreSQL works for one, the
    others go on, and who asks for a machine waits for no look at ten thousand hosts.

    To each other they are as writers of other servers are: rows are locked in the same order, and who loses a race
    tries again.
    """
    return Writer(database, clock=clock), Writer(database, clock=clock, apart=True)


def listening(where: str, what: str) -> socket.socket:
    """A socket on HOST:PORT. Raises `BadInput` for what is no such thing, `Conflict` when it is taken."""
    host, port = _split(where, what)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        told = f"can't listen at {where}: {error.strerror}; choose another address with --{what}"
        raise Conflict(told) from error


def _split(where: str, what: str) -> tuple[str, int]:
    host, _, port = where.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise BadInput(f"{where!r} is not HOST:PORT", field=what)
    return host.strip("[]"), int(port)


def address_of(bound: socket.socket) -> str:
    """HOST:PORT of a socket."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_doors(config: ServerConfig) -> None:
    check_api(config.api, config.api_fd, config.certificate, config.key)
    if config.grid_port:
        _split(config.grid_port, "grid-port")


def check_api(where: str, api_fd: int | None, certificate: Path | None, key: Path | None) -> None:
    """Raises `BadInput` for an API at HOST:PORT (or a socket that was handed over) that others could listen to:

    passwords and tokens don't go over a network in the clear.
    """
    handed = None
    if api_fd is not None:
        with door(where, _again(api_fd), "api") as given:
            handed = str(given.getsockname()[0])
    if (certificate is None) != (key is None):
        raise BadInput(
            "a certificate needs its key, and a key its certificate", field="certificate"
        )
    host = _split(where, "api")[0] if handed is None else handed
    if certificate is None and not _loopback(host):
        raise BadInput(
            f"{host} can be reached from elsewhere: give --certificate and --key, or listen on 127.0.0.1"
            " behind a proxy that speaks TLS",
            field="api",
        )


def _shown(config: ServerConfig) -> dict[str, datetime]:
    """When what this server shows to callers ends."""
    if config.certificate is None:
        return {}
    try:
        return {"the API's certificate": until(config.certificate.read_text())}
    except (OSError, ValueError) as error:
        raise BadInput(f"{config.certificate} is no certificate", field="certificate") from error


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(directory: Path, entropy: Entropy, called: str = "") -> str:
    """The server's own name, said or drawn on its first start: leases are held by it."""
    path = directory / "name"
    if called and not _CALLED.fullmatch(called):
        told = f"{called!r}: `server-`, then small letters, digits and hyphens"
        raise BadInput(told, field="called")
    if not path.exists():
        keep(path, called or f"server-{entropy.letters(12)}", entropy)
    name = path.read_text().strip()
    if called and called != name:
        raise BadInput(f"the server of this data directory is called {name}", field="called")
    return name


def door(where: str, handed: int | None, what: str) -> socket.socket:
    """The socket that was handed over, or one on HOST:PORT."""
    if handed is None:
        return listening(where, what)
    try:
        return socket.socket(fileno=handed)
    except OSError as error:
        raise BadInput(f"descriptor {handed} is no socket", field=f"{what}-fd") from error


def _again(handed: int | None) -> int | None:
    """The same socket once more, to be closed without closing it."""
    try:
        return None if handed is None else os.dup(handed)
    except OSError:
        return handed  # which is no socket, as will be told


def _names(config: ServerConfig) -> list[str]:
    """What the gateway's certificate says it is called."""
    if config.gateway_fd is not None:
        with socket.socket(fileno=os.dup(config.gateway_fd)) as handed:
            host = str(handed.getsockname()[0])
    else:
        host, _ = _split(config.gateway, "gateway")
    told = _split(_segment_address(config, host, 0), "segment-address")[0]
    return sorted(
        {*config.names, *(() if _everywhere(host) else (host,)), told, "localhost", "127.0.0.1"}
    )


def _segment_address(config: ServerConfig, host: str, port: int) -> str:
    """Where other servers reach this one, whose gateway listens on that host and port."""
    if config.segment_address:
        return config.segment_address
    host = socket.gethostname() if _everywhere(host) else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _everywhere(host: str) -> bool:
    return host in {"0.0.0.0", "::"}  # noqa: S104 - asked, not bound


def _certify(config: ServerConfig, authority: Authority, entropy: Entropy) -> tuple[Path, Path]:
    """Fresh certificates, of the gateway and for asking other servers; they are cheap, so each start has its own.

    The gateway's file goes on with the authority's, so that both are shown: whoever joins looks for the authority there.
    """
    made = new_request("server")
    signed = authority.sign(
        made.request, "server", IdentityKind.SERVER, _CERTIFICATE_HOURS, _names(config)
    )
    certificate, key = config.data / "gateway.pem", config.data / "gateway.key"
    keep(key, made.key, entropy)
    keep(certificate, signed + authority.pem, entropy)
    name = _name(config.data, entropy)
    asks = new_request(name)
    signed = authority.sign(asks.request, name, IdentityKind.PEER, _CERTIFICATE_HOURS)
    keep(config.data / _PEER, asks.key.reveal() + signed, entropy)
    return certificate, key


def _peer_context(config: ServerConfig, authority: Authority) -> ssl.SSLContext:
    """What this server asks others with."""
    return client_context(authority.pem, config.data / _PEER)


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


async def off_loop(work: Any) -> None:
    """Do something that waits for a thread, which may wait for this loop."""
    await asyncio.get_running_loop().run_in_executor(None, work)
