"""HTTP on a socket, in a process that has signals and logs of its own: uvicorn without its hands on either."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import uvicorn

from arable.api import console
from arable.domain.errors import Conflict

_FINISH_WITHIN = 10  # seconds, for calls that are under way when we leave
# Seconds without a request, then we hang up. Far longer than clients reuse a connection (5 s is usual, ours do too): a
# call and a hang-up that cross are a call of which nobody knows whether it was heard.
IDLE = 75


@contextlib.asynccontextmanager
async def serving_http(
    application: Any,
    bound: socket.socket,
    certificate: Path | None,
    key: Path | None,
    leaving: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Answer on a socket until the end of the block, then finish what is under way. `leaving` ends what has no end."""
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
        timeout_graceful_shutdown=_FINISH_WITHIN,
        timeout_keep_alive=IDLE,
        ssl_certfile=certificate,
        ssl_keyfile=key,
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
        leaving()
        http.should_exit = True
        await task


class _Http(uvicorn.Server):
    """With a word when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield
