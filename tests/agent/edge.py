"""A management server small enough to read, with real TLS: for tests of the agent's way to it."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from agent import make_agent as make
from arable.agent.join import Identity
from arable.runtime.ca import Authority, IdentityKind, keep, new_request, peer, server_context
from arable.runtime.clock import Clock, RealClock
from arable.runtime.entropy import Entropy
from arable.wire.agent import Change, Hello, JoinIn, JoinOut, Report, Welcome, encode, from_agent

WITHIN = 60.0  # seconds; the machine may be busy
CHANCE = Entropy.system()


def authority(directory: Path, clock: Clock | None = None) -> Authority:
    return Authority.create(directory, clock or RealClock(), CHANCE)


def server_tls(
    of: Authority,
    directory: Path,
    *,
    joining: bool = False,
    names: tuple[str, ...] = ("127.0.0.1",),
) -> ssl.SSLContext:
    """A server's certificate, shown together with its authority's."""
    made = new_request("server-a")
    directory.mkdir(parents=True, exist_ok=True)
    certificate = of.sign(made.request, "server-a", IdentityKind.SERVER, 24, names)
    keep(directory / "server.key", made.key, CHANCE)
    keep(directory / "server.pem", certificate + of.pem, CHANCE)
    return server_context(
        directory / "server.pem", directory / "server.key", of.pem, joining=joining
    )


def identity(of: Authority, directory: Path, host: str = make.HOST, trusts: str = "") -> Identity:
    """A host that has joined; `trusts` may be the certificate of another authority."""
    made = new_request(host)
    certificate = of.sign(made.request, host, IdentityKind.HOST, 24)
    directory.mkdir(parents=True, exist_ok=True)
    keep(directory / "identity.pem", make_pem(made.key.reveal(), certificate), CHANCE)
    keep(directory / "authority.pem", trusts or of.pem, CHANCE)
    keep(directory / "pool", make.POOL, CHANCE)
    return Identity.load(directory)


def make_pem(key: str, certificate: str) -> str:
    return key + certificate


# --- the channel


@dataclass
class Visit:
    """One connection of an agent, as its server sees it."""

    connection: ServerConnection
    host: str
    heard: asyncio.Queue[Hello | Report] = field(default_factory=asyncio.Queue)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def hears(self, kind: type) -> Any:
        """The next word of that kind."""
        async with asyncio.timeout(WITHIN):
            while True:
                word = await self.heard.get()
                if isinstance(word, kind):
                    return word

    async def hears_of(self, machine: str, state: str) -> Any:
        while True:
            report = (await self.hears(Report)).report
            for seen in report.guests:
                if seen.machine == machine and seen.state == state:
                    return report

    async def says(self, message: Any) -> None:
        await self.connection.send(encode(message), text=True)

    async def welcome(self, *changes: Change, seconds: int = 600) -> Hello:
        hello = await self.hears(Hello)
        await self.says(Welcome(server="server-a", report_seconds=seconds))
        for change in changes:
            await self.says(change)
        return hello

    async def gone(self) -> None:
        async with asyncio.timeout(WITHIN):
            await self.over.wait()


class Server:
    """Takes visits. `consoles` are those that agents opened, with the ticket."""

    def __init__(self) -> None:
        self.visits: asyncio.Queue[Visit] = asyncio.Queue()
        self.consoles: asyncio.Queue[tuple[str, ServerConnection]] = asyncio.Queue()
        self.address = ""

    async def visit(self) -> Visit:
        async with asyncio.timeout(WITHIN):
            return await self.visits.get()

    async def console(self) -> tuple[str, ServerConnection]:
        async with asyncio.timeout(WITHIN):
            return await self.consoles.get()

    async def handle(self, connection: ServerConnection) -> None:
        path = connection.request.path
        if path.startswith("/agent/v1/console/"):
            await self.consoles.put((path.rpartition("/")[2], connection))
            await connection.wait_closed()
            return
        assert path == "/agent/v1/channel"
        tls = connection.transport.get_extra_info("ssl_object")
        who = peer(tls.getpeercert(binary_form=True))
        visit = Visit(connection, who.common_name)
        await self.visits.put(visit)
        with suppress(ConnectionClosed):
            async for frame in connection:
                await visit.heard.put(from_agent(frame))
        visit.over.set()


@asynccontextmanager
async def serving(tls: ssl.SSLContext, port: int = 0) -> AsyncIterator[Server]:
    server = Server()
    async with serve(server.handle, "127.0.0.1", port, ssl=tls, compression=None) as listening:
        server.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


# --- the calls beside it


@dataclass
class Calls:
    """Answers joins, renewals and fetches of image parts."""

    of: Authority
    parts: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, range
    joins: list[JoinIn] = field(default_factory=list)
    hang_up_after: int | None = None  # bytes of a part, once
    refuse: tuple[int, str] | None = None
    answers_as: str = make.HOST
    address: str = ""

    def join(self, body: bytes) -> tuple[int, bytes]:
        if self.refuse:
            return self.refuse[0], msgspec.json.encode({"title": "no", "detail": self.refuse[1]})
        ask = msgspec.json.decode(body, type=JoinIn)
        self.joins.append(ask)
        return 201, self.signed(ask.request)

    def renew(self, body: bytes) -> tuple[int, bytes]:
        return 200, self.signed(msgspec.json.decode(body)["request"])

    def signed(self, request: str) -> bytes:
        certificate = self.of.sign(request, self.answers_as, IdentityKind.HOST, 24)
        return msgspec.json.encode(
            JoinOut(
                host=self.answers_as,
                certificate=certificate,
                authority=self.of.pem,
                pool=make.POOL,
            )
        )


@contextmanager
def calls(answering: Calls, tls: ssl.SSLContext) -> Iterator[Calls]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args: object) -> None:
            """Be quiet."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            does: dict[str, Callable[[bytes], tuple[int, bytes]]] = {
                "/agent/v1/join": answering.join,
                "/agent/v1/renew": answering.renew,
            }
            status, said = does[self.path](body)
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def do_GET(self) -> None:
            wanted = self.headers.get("range", "")
            answering.asked.append((self.path, wanted))
            content = answering.parts.get(self.path.rpartition("/")[2])
            if content is None:
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if first >= len(content):
                self.send_response(416)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            self.send_response(206 if wanted else 200)
            self.send_header("content-length", str(len(content) - first))
            self.end_headers()
            stop, answering.hang_up_after = answering.hang_up_after, None
            self.wfile.write(content[first : stop if stop is not None else None])
            if stop is not None:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_args: None  # strangers are refused in the handshake
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    answering.address = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield answering
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
