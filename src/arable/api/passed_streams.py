"""Streams of events that are passed on: what another region sends, written to who follows it here as it comes.

Between the two is a websocket at the other one's grid port, so that either side sees when the other is gone, and a slow
reader slows the sender. The other region serves the stream as any of its own: it decides what the caller may see, and
asks itself now and then whether that still holds. Numbers of events are that region's, and so is where to go on.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import msgspec

from arable.api.incoming import ClientGone, Receive
from arable.api.streams import HEARTBEAT, PER_USER
from arable.domain.access import Caller
from arable.domain.errors import BadInput, CloudError, TooOften, Unavailable
from arable.services.call import FarLine
from arable.services.elsewhere import Way
from arable.wire.grid import PassIn, PassOut

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Still = Callable[[], Awaitable[object]]
"""Raises when who asked may not ask any more."""

IN_ALL = 100
"""Streams from other regions at once, on each management server."""
ANSWER_WITHIN = 30.0
_PIECE = 32 << 10  # bytes of a stream in one message
_OK = 200
_ENDED = 1000


class PassedStreams:
    """Those that are followed here. On one event loop."""

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self._open = 0
        self._by_user: Counter[str] = Counter()

    def close(self) -> None:
        """End them all: who follows comes again, to another server."""
        self._over.set()

    async def follow(
        self,
        caller: Caller,
        by: Way,
        region: str,
        ask: PassIn,
        still: Still,
        receive: Receive,
        send: Send,
    ) -> PassOut | None:
        """From its first byte to its end; an answer if it was refused there, which is still to be given.

        Raises `Unavailable`, `TooOften`.
        """
        if self._by_user[caller.user] >= PER_USER:
            raise TooOften(
                f"you follow {PER_USER} streams of other regions already; close one",
                why={"retry_after": 5},
            )
        if self._over.is_set():
            raise Unavailable("this server is about to stop; ask another, or later")
        if self._open >= IN_ALL:
            raise Unavailable(
                f"{IN_ALL} streams of other regions are followed here already; ask another server, or later"
            )
        self._by_user[caller.user] += 1
        self._open += 1
        try:
            async with by.door.follow(by.link, by.url, region) as line:
                answer = await _begun(line, region, ask)
                if answer.status != _OK:
                    return answer
                await self._followed(line, answer, still, receive, send)
                return None
        finally:
            self._open -= 1
            self._by_user[caller.user] -= 1
            if not self._by_user[caller.user]:
                del self._by_user[caller.user]

    async def _followed(
        self, line: FarLine, answer: PassOut, still: Still, receive: Receive, send: Send
    ) -> None:
        head = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": _OK, "headers": head})
        work = {
            asyncio.ensure_future(each)
            for each in (_brought(line, send), _gone(receive), _refused(still), self._over.wait())
        }
        try:
            # Whichever it is, who follows sees an end and comes again, with the last number that was seen.
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        with suppress(OSError, RuntimeError):
            await send({"type": "http.response.body", "body": b""})


async def _begun(line: FarLine, region: str, ask: PassIn) -> PassOut:
    await line.send(msgspec.json.encode(ask))
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            first = await line.receive()
    except TimeoutError:
        raise Unavailable(f"{region} does not answer; ask again in a moment") from None
    if not isinstance(first, bytes):
        raise Unavailable(first[1] or f"{region} ended the stream before it began")
    return msgspec.json.decode(first, type=PassOut)


async def _brought(line: FarLine, send: Send) -> None:
    while isinstance(piece := await line.receive(), bytes):
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refused(still: Still) -> None:
    """Until who follows may not be here any more: a key was deleted, an account locked."""
    while True:
        await asyncio.sleep(HEARTBEAT)
        try:
            await still()
        except CloudError:
            return


class FarStream:
    """The other end: one stream that goes out over a websocket of another region."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._asked = False
        self._head: PassOut | None = None
        self._refusal = bytearray()

    async def asked(self) -> PassIn:
        """What is wanted. Raises `BadInput`, `ClientGone`."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})
        async with asyncio.timeout(ANSWER_WITHIN):
            message = await self._receive()
        if message["type"] != "websocket.receive":
            raise ClientGone
        said = message.get("bytes") or (message.get("text") or "").encode()
        try:
            return msgspec.json.decode(said, type=PassIn)
        except msgspec.DecodeError as error:
            raise BadInput("not a call that was passed on", field="body") from error

    async def receive(self) -> Message:
        """The request as the one who serves it sees it: without a body, and at last gone."""
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (await self._receive())["type"] != "websocket.disconnect":
            pass
        return {"type": "http.disconnect"}

    async def answer(self, message: Message) -> None:
        """What it is answered. A refusal goes in one piece."""
        if message["type"] == "http.response.start":
            self._head = told(message["status"], message["headers"])
            if self._head.status == _OK:
                await self._say(msgspec.json.encode(self._head))
            return
        body = message.get("body", b"")
        if self._head is None or self._head.status == _OK:
            for at in range(0, len(body), _PIECE):
                await self._say(body[at : at + _PIECE])
        else:
            self._refusal += body
            if not message.get("more_body", False):
                await self.refuse(msgspec.structs.replace(self._head, body=bytes(self._refusal)))

    async def refuse(self, answer: PassOut) -> None:
        """Say no."""
        await self._say(msgspec.json.encode(answer))

    async def end(self) -> None:
        """There is no more."""
        with suppress(OSError, RuntimeError):  # whoever is gone needs no goodbye
            await self._send({"type": "websocket.close", "code": _ENDED, "reason": ""})

    async def _say(self, piece: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": piece})


COME_BACK = frozenset(
    ["content-type", "etag", "location", "retry-after", "arable-request", "arable-dry-run", "cache-control",
     "upload-offset", "upload-length", "upload-complete"]
)  # fmt: skip
"""Headers of an answer that is passed on."""


def told(status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> PassOut:
    """An answer, as the first region gives it."""
    said = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    return PassOut(
        status=status, headers=tuple(each for each in said if each[0] in COME_BACK), body=body
    )
