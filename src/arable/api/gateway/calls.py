"""The calls beside the channel, as plain ASGI: join, renew, fetch an image part, bring one that was made of a snapshot,
carry a console, answer programs inside farms; and servers' pings.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from arable.api import incoming, problems
from arable.api.console import Consoles
from arable.api.gateway.door import Door
from arable.api.gateway.identity import host_of, server_of
from arable.api.incoming import ClientGone, Receive, Scope
from arable.api.inside import Inside
from arable.domain.errors import BadInput, CloudError, NotFound
from arable.domain.ids import HostId, OperationId
from arable.domain.inside import GuestAnswer, GuestAsk
from arable.runtime.ca import Peer
from arable.runtime.clock import Clock
from arable.services.desk import Desk
from arable.services.images import Incoming
from arable.wire.agent import BringQuery, JoinIn, RenewIn
from arable.wire.cluster import PING, Pong

log = logging.getLogger(__name__)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JOIN = "/agent/v1/join"
"""The one path that needs no certificate."""
RENEW = "/agent/v1/renew"
CHANNEL = "/agent/v1/channel"
INSIDE = "/agent/v1/inside"
_IMAGES = re.compile(r"/agent/v1/images/([0-9a-f]{64})")
_BRING = re.compile(r"/agent/v1/snapshots/(operation-[0-9a-z]{1,64})")
_CONSOLE = re.compile(r"/agent/v1/console/([0-9a-z]{1,64})")
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")

_BODY = 64 << 10
_PIECE = 256 << 10
_READ_WITHIN = 30.0  # seconds to bring a body, or to take or bring a piece of an image
_FETCHING = 64  # images on their way at once
_BRINGING = 8

T = TypeVar("T", JoinIn, RenewIn, GuestAsk)
_join = msgspec.json.Decoder(JoinIn)
_renew = msgspec.json.Decoder(RenewIn)
_guest = msgspec.json.Decoder(GuestAsk)
_announced = incoming.QueryReader(BringQuery)


class Calls:
    """ASGI application of the agents' port. Made and called on the event loop. `pong`: what other servers are told."""

    def __init__(
        self,
        desk: Desk,
        consoles: Consoles,
        clock: Clock,
        pong: Callable[[], Pong] | None = None,
        inside: Inside | None = None,
    ) -> None:
        self._desk = desk
        self._pong = pong
        self._inside = inside
        self._consoles = consoles
        self._clock = clock
        self._door = Door(clock)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="images")
        self._fetching = asyncio.Semaphore(_FETCHING)
        self._bringing = asyncio.Semaphore(_BRINGING)
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """No more image parts, and nobody in the store on their behalf."""
        self._threads.shutdown(cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        try:
            await self._answer(scope, receive, send)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - told, and logged there
            await _refuse(send, error)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == JOIN:
            _only(scope, "POST")
            await self._joined(scope, receive, send)
            return
        peer: Peer | None = scope["state"]["peer"]
        if path == PING and self._pong is not None:
            _only(scope, "GET")
            server_of(peer, self._clock)
            await _send_json(send, 200, self._pong())
            return
        host = host_of(peer, self._clock)  # nothing below without a certificate
        assert peer is not None, "somebody is a host"
        if path == RENEW:
            _only(scope, "POST")
            ask = _parsed(_renew, await _body(scope, receive))
            renewed = await asyncio.wrap_future(self._desk.renew(host, peer.epoch, ask))
            await _send_json(send, 200, renewed)
        elif path == INSIDE and self._inside is not None:
            _only(scope, "POST")
            said = _parsed(_guest, await _body(scope, receive))
            answered = await self._inside.answer(host, peer.epoch, said)
            await _send_json(send, 200, answered)
        elif found := _IMAGES.fullmatch(path):
            _only(scope, "GET")
            async with self._fetching:
                await self._image(host, peer.epoch, found[1], scope, send)
        elif found := _BRING.fullmatch(path):
            operation = OperationId(found[1])
            if scope["method"] == "GET":
                taken = await self._may_bring(host, peer.epoch, operation, scope)
                await self._run(taken.abort)
            else:
                _only(scope, "PUT")
                async with self._bringing:
                    await self._brought(host, peer.epoch, operation, scope, receive)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            raise NotFound("there is nothing at this path")

    async def _joined(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        source = client[0] if client else ""
        self._door.check(source)
        try:
            ask = _parsed(_join, await _body(scope, receive))
            answer = await asyncio.wrap_future(self._desk.join(ask))
        except CloudError:
            self._door.failed(source)
            raise
        log.info("%s joined from %s", answer.host, source)
        await _send_json(send, 201, answer)

    async def _image(self, host: HostId, epoch: int, sha256: str, scope: Scope, send: Send) -> None:
        path = await self._run(self._desk.image_part, host, epoch, sha256)
        file, size = await self._run(_opened, path)
        try:
            first, last = _wanted(scope, size)
            headers = [
                (b"content-type", b"application/octet-stream"),
                (b"accept-ranges", b"bytes"),
                (b"etag", b'"%s"' % sha256.encode()),
                (b"content-length", b"%d" % (last - first + 1)),
            ]
            whole = (first, last) == (0, size - 1)
            if not whole:
                headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, size)))
            status = 200 if whole else 206
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await self._run(file.seek, first)
            left = last - first + 1
            while left:
                piece = await self._run(file.read, min(_PIECE, left))
                if not piece:  # the length does not fit, so the agent sees it too
                    log.error("image part %s ended early", path)
                    raise ClientGone
                left -= len(piece)
                async with asyncio.timeout(_READ_WITHIN):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError as error:
            raise ClientGone from error
        finally:
            await self._run(file.close)

    async def _may_bring(
        self, host: HostId, epoch: int, operation: OperationId, scope: Scope
    ) -> Incoming:
        """What takes in the bytes that were announced; raises what is to be said against them."""
        said = _announced.read(incoming.query(scope))
        assert isinstance(said, BringQuery), "what it reads"
        taken: Incoming = await self._run(
            self._desk.may_bring, host, epoch, operation, said.sha256, said.bytes
        )
        return taken

    async def _brought(
        self, host: HostId, epoch: int, operation: OperationId, scope: Scope, receive: Receive
    ) -> None:
        """Pass the body on piece by piece; what breaks off leaves nothing behind."""
        taken = await self._may_bring(host, epoch, operation, scope)
        try:
            more = True
            while more:
                async with asyncio.timeout(_READ_WITHIN):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                if piece := message.get("body", b""):
                    await self._run(taken.write, piece)
                more = message.get("more_body", False)
            received = await self._run(taken.done)
        except TimeoutError as error:
            raise ClientGone from error
        finally:
            await asyncio.shield(self._run(taken.abort))
        await asyncio.wrap_future(self._desk.brought(host, epoch, operation, received))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            host = host_of(scope["state"]["peer"], self._clock)
            found = _CONSOLE.fullmatch(scope["path"])
            if found is None:
                raise NotFound("there is nothing at this path")
        except CloudError as error:
            await _refuse_websocket(receive, send, problems.status_of(error))
            return
        await self._consoles.agent(host, found[1], receive, send)

    async def _run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._threads, work, *args)


async def _body(scope: Scope, receive: Receive) -> bytes:
    reading: Coroutine[Any, Any, bytes] = incoming.body(
        receive, incoming.headers(scope), limit=_BODY
    )
    try:
        async with asyncio.timeout(_READ_WITHIN):
            return await reading
    except TimeoutError as error:
        raise ClientGone from error


def _parsed(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise problems.of_validation(error, "body") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput("not JSON", field="body") from error


def _only(scope: Scope, method: str) -> None:
    if scope["method"] != method:
        raise problems.Fault(
            405, "method-not-allowed", f"this is for {method}", {b"allow": method.encode()}
        )


def _opened(path: Path) -> tuple[BinaryIO, int]:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise NotFound("this part is not here any more") from error
    size = file.seek(0, 2)
    return file, size


def _wanted(scope: Scope, size: int) -> tuple[int, int]:
    """First and last byte; everything when no range is asked for that we understand."""
    asked = next((value for name, value in scope["headers"] if name == b"range"), b"")
    found = _RANGE.fullmatch(asked.decode("latin-1"))
    if not found:
        return 0, size - 1
    first, last = int(found[1]), int(found[2] or size - 1)
    if first >= size or last < first:
        raise problems.Fault(
            416,
            "range-not-satisfiable",
            f"the part has {size} bytes",
            {b"content-range": b"bytes */%d" % size},
        )
    return first, min(last, size - 1)


async def _send_json(send: Send, status: int, answer: msgspec.Struct | GuestAnswer) -> None:
    await _send(send, status, msgspec.json.encode(answer), [(b"content-type", b"application/json")])


async def _refuse(send: Send, error: Exception) -> None:
    headers = [(b"content-type", problems.MEDIA_TYPE)]
    if isinstance(error, problems.Fault):
        told = problems.of_fault(error, "agent")
        headers += list(error.headers.items())
    elif isinstance(error, CloudError):
        told = problems.of_error(error, "agent")
        if isinstance(error.why, dict) and "retry_after" in error.why:
            headers.append((b"retry-after", str(error.why["retry_after"]).encode()))
    else:
        log.error("a call of an agent failed", exc_info=error)
        told = problems.of_bug("agent")
    await _send(send, told.status, problems.body(told), headers)


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse_websocket(receive: Receive, send: Send, status: int) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": status, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})
