"""What is at the grid port, as plain ASGI: a table of routes, each of which is told who asks.

Whoever got in is a region or the grid manager, by a certificate of the grid's authority. A route still decides what
that one may have; one that is for the grid manager alone says so in its row (`by`).
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from arable.api import incoming, problems
from arable.api.incoming import ClientGone, Receive, Scope
from arable.domain.errors import CloudError, Forbidden, NotFound, Unauthenticated
from arable.runtime.ca import IdentityKind, Peer
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
REGIONS = frozenset({IdentityKind.REGION})
GRID = frozenset({IdentityKind.GRID})
ANYBODY = REGIONS | GRID

_TAKE_WITHIN = 60.0  # seconds for whoever asked to take the next piece
_BODY = 16 << 20  # bytes: a snapshot of ten thousand versions has about six million


@dataclass(frozen=True, slots=True)
class GridRequest:
    """One call. `region` is who asks, as its certificate says (of the grid manager: its own name)."""

    region: str
    kind: IdentityKind
    found: tuple[str, ...]  # what the route's pattern caught
    scope: Scope
    receive: Receive

    def query(self) -> dict[str, list[str]]:
        """The query's parameters."""
        return incoming.query(self.scope)

    async def body(self) -> bytes:
        """All of it; raises `TooLarge`."""
        return await incoming.body(self.receive, incoming.headers(self.scope), limit=_BODY)


@dataclass(frozen=True, slots=True)
class GridAnswer:
    """`body` is bytes, or comes in pieces. What then fails ends the connection, so that nobody takes it for whole."""

    body: bytes | AsyncIterator[bytes] = b""
    status: int = 200
    headers: Sequence[Header] = ((b"content-type", b"application/json"),)


def json_answer(document: msgspec.Struct, status: int = 200) -> GridAnswer:
    """A document."""
    return GridAnswer(msgspec.json.encode(document), status)


@dataclass(frozen=True, slots=True)
class GridRoute:
    """A call: method, the path's pattern, what answers, and for whom it is."""

    method: str
    path: re.Pattern[str]
    answer: Callable[[GridRequest], Awaitable[GridAnswer]]
    by: Collection[IdentityKind] = field(default=REGIONS)


@dataclass(frozen=True, slots=True)
class GridSocket:
    """A websocket: the path's pattern, and what becomes of it: `(region, what the pattern caught, receive, send)`."""

    path: re.Pattern[str]
    opened: Callable[[str, tuple[str, ...], Receive, Send], Awaitable[None]]


class GridApp:
    """The application: the first route whose pattern fits the whole path.

    `admit` looks whether a region still counts, on a thread, and raises if not: a certificate may outlive its region's
    place in the grid.
    """

    def __init__(
        self,
        routes: Sequence[GridRoute | GridSocket],
        clock: Clock,
        admit: Callable[[Peer], None] | None = None,
    ) -> None:
        self._routes = tuple(each for each in routes if isinstance(each, GridRoute))
        self._sockets = tuple(each for each in routes if isinstance(each, GridSocket))
        self._clock = clock
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._open(scope, receive, send)
            return
        try:
            answer = await self._answer(scope, receive)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - told, and logged there
            await refuse(send, error)
            return
        try:
            await send_answer(send, answer)
        except TimeoutError:
            log.info("another region does not take what it asked for; its connection ends")
        except CloudError as error:  # too late to say so: what ends early is seen to be cut off
            log.warning("an answer to another region broke off: %s", error.public)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            peer = await self._admitted(scope)
            if peer.kind not in REGIONS:
                raise Forbidden("this is for regions")
        except CloudError as error:
            log.warning("a websocket of another region was refused: %s", error.public)
        else:
            for socket in self._sockets:
                if found := socket.path.fullmatch(scope["path"]):
                    await socket.opened(peer.common_name, found.groups(), receive, send)
                    return
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": ""})

    async def _admitted(self, scope: Scope) -> Peer:
        peer = self._peer(scope)
        if self._admit is not None and peer.kind is IdentityKind.REGION:
            await asyncio.get_running_loop().run_in_executor(None, self._admit, peer)
        return peer

    async def _answer(self, scope: Scope, receive: Receive) -> GridAnswer:
        peer = await self._admitted(scope)
        allow = set()
        for route in self._routes:
            found = route.path.fullmatch(scope["path"])
            if found is None:
                continue
            if route.method != scope["method"]:
                allow.add(route.method)
                continue
            if peer.kind not in route.by:
                raise Forbidden(f"this is not for a {peer.kind}")
            request = GridRequest(peer.common_name, peer.kind, found.groups(), scope, receive)
            return await route.answer(request)
        if allow:
            methods = ", ".join(sorted(allow))
            raise problems.Fault(
                405, "method-not-allowed", f"this is for {methods}", {b"allow": methods.encode()}
            )
        raise NotFound("there is nothing at this path")

    def _peer(self, scope: Scope) -> Peer:
        """Who is there. The time is checked again: a connection may outlive the certificate that it began with."""
        peer: Peer | None = scope["state"]["peer"]
        if peer is None or peer.kind not in ANYBODY:
            raise Forbidden("this is for regions of the grid alone")
        if peer.until <= self._clock.now():
            raise Unauthenticated("this certificate's time is over")
        return peer


async def send_answer(send: Send, answer: GridAnswer) -> None:
    """All of it."""
    headers = list(answer.headers)
    if isinstance(answer.body, bytes):
        headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for piece in answer.body:
        async with asyncio.timeout(_TAKE_WITHIN):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def refuse(send: Send, error: Exception) -> None:
    """Say why not."""
    headers = [(b"content-type", problems.MEDIA_TYPE)]
    if isinstance(error, problems.Fault):
        told = problems.of_fault(error, "grid")
        headers += list(error.headers.items())
    elif isinstance(error, CloudError):
        told = problems.of_error(error, "grid")
        if isinstance(error.why, dict) and "retry_after" in error.why:
            headers.append((b"retry-after", str(error.why["retry_after"]).encode()))
    else:
        log.error("a call of another region failed", exc_info=error)
        told = problems.of_bug("grid")
    await send_answer(send, GridAnswer(problems.body(told), told.status, headers))
