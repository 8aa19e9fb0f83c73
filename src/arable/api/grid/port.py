"""The grid port: TLS on a socket, where only regions and the grid manager get in, by certificates of the grid's authority.

The handshake refuses everybody else, so nothing is ever read from a stranger. As at the agents' port, who is there goes
into the request's state, where no header can put it.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from arable.api.console import MOST as CONSOLE_MESSAGE
from arable.api.console import ConsoleWebSocket
from arable.api.gateway.identity import shown
from arable.domain.errors import Forbidden

log = logging.getLogger(__name__)

_HANDSHAKE_WITHIN = 10.0
_IDLE = 75  # seconds without a request, then we hang up: longer than clients keep a connection
_BACKLOG = 512
_MOST = 512  # connections at once


class GridPort:
    """Listens from `start` to `stop`. `application`: ASGI, for example `GridApp`."""

    def __init__(self, application: Any, context: ssl.SSLContext) -> None:
        self._context = context
        self._state = ServerState()
        self._config = uvicorn.Config(
            application,
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
            limit_concurrency=_MOST,
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
        self._config.load()
        self._server: asyncio.Server | None = None

    async def start(self, at: socket.socket | tuple[str, int]) -> tuple[str, int]:
        """Listen on a bound socket, or on host and port (0: any); where it listens."""
        if not isinstance(at, socket.socket):
            family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
            at = socket.create_server(at, family=family, backlog=_BACKLOG)
        name = at.getsockname()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self._config, self._state),
            sock=at,
            ssl=self._context,
            ssl_handshake_timeout=_HANDSHAKE_WITHIN,
            ssl_shutdown_timeout=2.0,
            backlog=_BACKLOG,
        )
        return str(name[0]), int(name[1])

    async def stop(self) -> None:
        """Take nobody in any more and hang up on everybody."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)

    def refresh(self, load: Callable[[ssl.SSLContext], None]) -> None:
        """Renew the certificate: `load` puts it into the context, for connections from now on."""
        load(self._context)


class _Connection(HttpToolsProtocol):
    """One connection, whose certificate every request on it carries."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config, state, {"peer": None})

    def connection_made(self, transport: Any) -> None:
        try:
            peer = shown(transport)
        except Forbidden as error:
            log.warning("a connection was refused: %s", error.public)
            transport.abort()
            return
        super().connection_made(transport)
        self.app_state = {"peer": peer}
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            super().connection_lost(exc)
