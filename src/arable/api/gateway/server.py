"""The agents' port: TLS on a socket, uvicorn's HTTP protocol for calls, our own channel for channels.

A connection waits for its turn before its handshake begins (`pace.py`): ten thousand agents that come back at once are
let in one after the other, while those that are in are served.

uvicorn's protocol is used without its server: no signals, no access log, no life span, and the peer's certificate goes
into the request's state, where no header can put it. An upgrade to the channel never becomes an ASGI call: the
connection is handed over to a `Channel`, after the same look at the certificate that every call gets.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from arable.api import problems
from arable.api.console import MOST as CONSOLE_MESSAGE
from arable.api.console import ConsoleWebSocket
from arable.api.gateway.calls import CHANNEL, Calls
from arable.api.gateway.channel import Channel, Listener
from arable.api.gateway.identity import host_of, shown
from arable.domain.errors import CloudError, Forbidden, TooOften
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

HANDSHAKE_WITHIN = 10.0
_IDLE = 30  # seconds that a connection may stay without a request
_STRANGERS = 256  # connections without a certificate at once
_STRANGER = 60  # seconds that one may last: joining takes two
_BACKLOG = 2048
_AGAIN = 0.5  # seconds, after nobody could be let in


class Gateway:
    """Listens from `start` to `stop`."""

    def __init__(
        self, calls: Calls, listener: Listener, clock: Clock, context: ssl.SSLContext
    ) -> None:
        self._context = context
        self._listener = listener
        self._clock = clock
        self._strangers = 0
        self._state = ServerState()
        self._config = uvicorn.Config(
            calls,
            http=HttpToolsProtocol,
            ws=ConsoleWebSocket,
            ws_max_size=CONSOLE_MESSAGE,
            ws_per_message_deflate=False,
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=_IDLE,
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
        self._config.load()
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._shaking: set[asyncio.Task[None]] = set()

    async def start(self, at: socket.socket | tuple[str, int]) -> tuple[str, int]:
        """Listen on a bound socket, or on host and port (0: any); where it listens."""
        if not isinstance(at, socket.socket):
            family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
            at = socket.create_server(at, family=family, backlog=_BACKLOG)
        at.setblocking(False)
        self._listening = at
        self._accepting = asyncio.get_running_loop().create_task(self._accept(at))
        name = at.getsockname()
        return str(name[0]), int(name[1])

    async def stop(self) -> None:
        """Take nobody in any more and hang up on everybody. Close the channels first, so that agents know why."""
        if self._listening is None or self._accepting is None:
            return
        tasks = [self._accepting, *self._shaking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listening.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)

    def refresh(self, load: Callable[[ssl.SSLContext], None]) -> None:
        """Renew the server's own certificate: `load` puts it into the context, for connections from now on."""
        load(self._context)

    def enter(self) -> bool:
        """One more connection without a certificate; whether there is room for it."""
        self._strangers += 1
        return self._strangers <= _STRANGERS

    def leave(self) -> None:
        """One less."""
        self._strangers -= 1

    def channel(self, state: dict[str, Any]) -> Channel:
        """A channel for whoever the certificate names. Raises `Unauthenticated` or `Forbidden`."""
        peer = state["peer"]
        return Channel(host_of(peer, self._clock), peer, self._listener)

    def check_room(self) -> None:
        """Raises `TooOften` when nobody has time for one more channel."""
        seconds = self._listener.crowded()
        if seconds:
            raise TooOften("too many hosts at once", why={"retry_after": seconds})

    async def _accept(self, listening: socket.socket) -> None:
        """Whoever comes has their turn, or none. What they say before it stays in the kernel."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                arrived, address = await loop.sock_accept(listening)
            except OSError as error:  # no descriptor is left, or they have gone already
                log.warning("nobody can be let in: %s", error)
                await asyncio.sleep(_AGAIN)
                continue
            wait = self._listener.pace.turn(address[0])
            if wait is None:
                arrived.close()
                continue
            task = loop.create_task(self._let_in(arrived, wait))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    async def _let_in(self, arrived: socket.socket, wait: float) -> None:
        try:
            if wait:
                await asyncio.sleep(wait)
            arrived.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Connection(self, self._config, self._state),
                arrived,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_WITHIN,
                ssl_shutdown_timeout=2.0,
            )
        except OSError as error:  # whatever TLS does not like is one
            log.debug("no handshake: %s", error)
            arrived.close()
        except asyncio.CancelledError:
            arrived.close()
            raise


class _Connection(HttpToolsProtocol):
    """One connection, whose certificate every request on it carries. Without one, there is nothing to upgrade to."""

    def __init__(self, gateway: Gateway, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config, state, {"peer": None})
        self._gateway = gateway
        self._stranger = False

    def connection_made(self, transport: Any) -> None:
        try:
            peer = shown(transport)
        except Forbidden as error:
            log.warning("a connection was refused: %s", error.public)
            transport.abort()
            return
        super().connection_made(transport)
        self.app_state = {"peer": peer}
        if peer is None:
            self._stranger = True
            if not self._gateway.enter():
                transport.abort()
                return
            self.loop.call_later(_STRANGER, transport.abort)
        # Somebody who connects and says nothing is as idle as somebody who has been answered.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stranger:
            self._stranger = False
            self._gateway.leave()
        if self.transport is not None:
            super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        ours = self.url.partition(b"?")[0] == CHANNEL.encode()
        try:
            channel = self._gateway.channel(self.app_state)
            if ours:
                self._gateway.check_room()
        except CloudError as error:
            self._refuse(error)
            return
        if not ours:
            super().handle_websocket_upgrade()
            return
        self.connections.discard(self)
        request = [self.scope["method"].encode(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.scope["headers"]:
            request += [name, b": ", value, b"\r\n"]
        channel.connection_made(self.transport)
        channel.data_received(b"".join([*request, b"\r\n"]))
        self.transport.set_protocol(channel)

    def _refuse(self, error: CloudError) -> None:
        status = HTTPStatus(problems.status_of(error))
        later = ""
        if isinstance(error, TooOften) and isinstance(error.why, dict):
            later = f"retry-after: {error.why['retry_after']}\r\n"
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\n{later}"
            "content-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        self.transport.close()
