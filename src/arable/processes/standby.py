"""A management server at a second site, whose database follows the first site's: it waits until it is promoted.

Meanwhile it writes nothing and answers callers that it stands by (503), so that load balancers leave it alone. Nobody
has to tell it that its time has come: it sees that its database can be written (`arable failover`, or any other way
of promoting it), and starts.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from arable.api import problems
from arable.domain.errors import CloudError, Unavailable
from arable.processes.http import serving_http
from arable.store import replicas
from arable.store.database import Database

log = logging.getLogger(__name__)

_LOOK_EVERY = 1.0
_AGAIN_SECONDS = b"2"

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def our_turn(
    database: Database,
    listen: Callable[[], socket.socket],
    certificate: Path | None,
    key: Path | None,
    told: asyncio.Event,
) -> bool:
    """Wait until the database can be written; at once where it can. False: we were told to leave meanwhile."""
    if not await asyncio.to_thread(replicas.stands_by, database):
        return True
    log.info("standing by: the database follows another one")
    async with AsyncExitStack() as stack:
        bound = stack.enter_context(listen())
        await stack.enter_async_context(serving_http(_answer, bound, certificate, key))
        while not told.is_set():
            try:
                async with asyncio.timeout(_LOOK_EVERY):
                    await told.wait()
            except TimeoutError:
                if await asyncio.to_thread(_is_open, database):
                    log.info("the database can be written: this is the first site now")
                    return True
    return False


def _is_open(database: Database) -> bool:
    try:
        return not replicas.stands_by(database)
    except CloudError as error:
        log.warning("standing by: %s", error.public)
        return False


async def _answer(scope: Any, receive: Any, send: Send) -> None:
    """To anybody, whatever they ask."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1013})
        return
    status, kind, body = 503, b"text/plain; charset=utf-8", b"standby\n"
    if scope["path"] == "/healthz":
        status, body = 200, b"ok\n"
    elif scope["path"] != "/readyz":
        error = Unavailable("this management server stands by; another site serves this cloud")
        kind, body = problems.MEDIA_TYPE, problems.body(problems.of_error(error, "standby"))
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if status != 200:
        headers += [(b"retry-after", _AGAIN_SECONDS), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
