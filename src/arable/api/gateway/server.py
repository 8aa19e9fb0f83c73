"""The agents' port: TLS on a socket, uvicorn's HTTP protocol for calls, our own channel for channels.

uvicorn's protocol is used without its server: no signals, no access log, no life span, and the peer's certificate goes
into the request's state, where no header can put it. An upgrade to the channel never becomes an ASGI call: the
connection is handed over to a `Channel`, after the same look at the certificate that every call gets.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from http import HTTPStatus
from socket import socket
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
from arable.domain.errors import CloudError, Forbidden
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

HANDSHAKE_WITHIN = 10.0
_IDLE = 30  # seconds that a connection may stay without a request
_STRANGERS = 256  # connections without a certificate at once
_STRANGER = 60  # seconds that one may last: joining takes two
_BACKLOG = 2048


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
        self._server: asyncio.Server | None = None

    async def start(self, at: socket | tuple[str, int]) -> tuple[str, int]:
        """Listen on a bound socket, or on host and port (0: any); where it listens."""
        where: dict[str, Any] = (
            {"sock": at} if isinstance(at, socket) else {"host": at[0], "port": at[1]}
        )
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self, self._config, self._state),
            **where,
            ssl=self._context,
            ssl_handshake_timeout=HANDSHAKE_WITHIN,
            ssl_shutdown_timeout=2.0,
            backlog=_BACKLOG,
        )
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def stop(self) -> None:
        """Take nobody in any more and hang up on everybody. Close the channels first, so that agents know why."""
        if self._server is None:
            return
        self._server.close()
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
        try:
            channel = self._gateway.channel(self.app_state)
        except CloudError as error:
            status = HTTPStatus(problems.status_of(error))
            self.transport.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                "content-length: 0\r\nconnection: close\r\n\r\n".encode()
            )
            self.transport.close()
            return
        if self.url.partition(b"?")[0] != CHANNEL.encode():
            super().handle_websocket_upgrade()
            return
        self.connections.discard(self)
        request = [self.scope["method"].encode(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.scope["headers"]:
            request += [name, b": ", value, b"\r\n"]
        channel.connection_made(self.transport)
        channel.data_received(b"".join([*request, b"\r\n"]))
        self.transport.set_protocol(channel)
