"""Files that are passed on to another region: read as that one takes them, so that nobody on the way keeps any of it.

On the way out a thread asks for the next piece when the one before was taken; where it arrives, what was asked comes
first, and the rest is the request's own body. What breaks off is told as a client that has gone: nothing of it counts.
"""

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import msgspec

from arable.api.incoming import ClientGone, Receive
from arable.domain.errors import BadInput
from arable.wire.grid import PassIn

PAUSE = 60.0
"""Seconds for the next piece of a file."""
_PIECE = 1 << 18  # bytes that are sent at once
_HEAD = 64 << 10  # bytes of what is said before a file
_LEFT = 64 << 20  # bytes of a refused file that are read still, so that the refusal is heard


def pieces(receive: Receive, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """A request's body for a thread, which waits for each piece. Raises `ClientGone`."""
    waiting = bytearray()
    more = True
    while more:
        message = asyncio.run_coroutine_threadsafe(_next(receive), loop).result()
        if message["type"] == "http.disconnect":
            raise ClientGone
        waiting += message.get("body", b"")
        more = message.get("more_body", False)
        if waiting and (len(waiting) >= _PIECE or not more):
            yield bytes(waiting)
            waiting.clear()


async def _next(receive: Receive) -> MutableMapping[str, Any]:
    return await receive()


class PassedFile:
    """What follows the head of a body, as a request's own body. Nothing for too long, and it counts as broken off."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._waiting = bytearray()
        self._over = False

    async def head(self) -> PassIn:
        """Raises `BadInput`, `ClientGone`."""
        length = int.from_bytes(await self._exactly(4))
        if length > _HEAD:
            raise BadInput("not a call that was passed on", field="body")
        try:
            return msgspec.json.decode(await self._exactly(length), type=PassIn)
        except msgspec.DecodeError as error:
            raise BadInput("not a call that was passed on", field="body") from error

    async def receive(self) -> MutableMapping[str, Any]:
        """The next piece of the file."""
        if not self._waiting and not self._over and not await self._more():
            return {"type": "http.disconnect"}
        piece = bytes(self._waiting)
        self._waiting.clear()
        return {"type": "http.request", "body": piece, "more_body": not self._over}

    async def rest(self) -> None:
        """Read what nobody wants any more, as far as it is not too much."""
        left = _LEFT
        while not self._over and left > 0:
            self._waiting.clear()
            if not await self._more():
                return
            left -= len(self._waiting)

    async def _exactly(self, count: int) -> bytes:
        while len(self._waiting) < count:
            if self._over:
                raise BadInput("not a call that was passed on", field="body")
            if not await self._more():
                raise ClientGone
        found = bytes(self._waiting[:count])
        del self._waiting[:count]
        return found

    async def _more(self) -> bool:
        """Wait for more of it; False: it broke off."""
        try:
            async with asyncio.timeout(PAUSE):
                message = await self._receive()
        except TimeoutError:
            message = {"type": "http.disconnect"}
        if message["type"] == "http.disconnect":
            self._over = True
            return False
        self._waiting += message.get("body", b"")
        self._over = not message.get("more_body", False)
        return True
