"""Requests that mean another region: `Arable-Region: NAME` beside any call about machines and what belongs to them.

Here the caller is let in, and the call passed on over the grid port (`services/elsewhere.py`); there it is done as any
other. What comes back is that region's own answer, so its operations are its own, and are followed in the same way: the
first region keeps nothing that could be lost, or say something else than what is the case.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from arable.api import incoming, problems
from arable.api.console import Consoles, Reach
from arable.api.everywhere import everywhere
from arable.api.gate import CALLER, STILL, Gate
from arable.api.grid.app import GridAnswer, GridRequest, GridRoute, GridSocket, json_answer
from arable.api.incoming import ClientGone, Receive, Scope
from arable.api.operation import Access
from arable.api.passed_files import PassedFile, pieces
from arable.api.passed_streams import FarStream, PassedStreams, told
from arable.domain.access import Caller
from arable.domain.console import FarVisit
from arable.domain.errors import BadInput, CloudError, Unavailable
from arable.services import elsewhere
from arable.services.call import FarLine, Surroundings
from arable.services.elsewhere import Asked, Near, Way
from arable.services.execution import Database
from arable.wire.common import NAME_PATTERN
from arable.wire.consoles import ConsoleOut
from arable.wire.grid import CONSOLE, ELSEWHERE, FOLLOW, UPLOAD, PassIn, PassOut

log = logging.getLogger(__name__)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = b"arable-region"
_AT_ONCE = 16  # calls on their way to other regions
_WAITING = 64
_FILES = 8  # on their way to other regions at once
_MADE = 201
_NAME = re.compile(NAME_PATTERN)
_WAIT = re.compile(r"(?:^|&)wait=(\d{1,3})(?:&|$)")
_GO_ON = (
    *(b"content-type", b"if-match", b"idempotency-key", b"last-event-id"),
    *(b"upload-offset", b"upload-complete"),
)


def region_of(scope: Scope) -> bytes | None:
    """Which region the request means, as it said it; None: this one."""
    return next((value for name, value in scope["headers"] if name == HEADER), None)


class Elsewhere:
    """Passes requests on. Made and called on the event loop."""

    def __init__(self, gate: Gate, database: Database, around: Surroundings) -> None:
        self._gate = gate
        self._database = database
        self._around = around
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="elsewhere")
        self._many = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="everywhere")
        self._files = ThreadPoolExecutor(_FILES, thread_name_prefix="elsewhere-files")
        self._under_way = 0
        self._uploads = 0
        self._streams = PassedStreams()
        self._count = 0

    def leave(self) -> None:
        """End what has no end: this server is about to stop."""
        self._streams.close()

    def close(self) -> None:
        """No more of them."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._many.shutdown(wait=False, cancel_futures=True)
        self._files.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, here: Application) -> None:
        """`here` does what means this region after all."""
        self._count += 1
        request = f"elsewhere-{self._count:x}"
        try:
            answer = await self._passed(scope, receive, send, request, here)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - what is not ours is told as a 500
            answer = _refusal(error, request)
        if answer is None:
            return
        headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in answer.headers]
        headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _passed(
        self, scope: Scope, receive: Receive, send: Send, request: str, here: Application
    ) -> PassOut | None:
        """The answer; None when it was given already."""
        said = incoming.headers(scope)
        caller = await self._gate.caller(Access.SIGNED_IN, said, scope, request)
        region = (region_of(scope) or b"").decode("latin-1")
        if not _NAME.fullmatch(region):
            raise BadInput("this is no name of a region", field="arable-region")
        run = asyncio.get_running_loop().run_in_executor
        if region == elsewhere.EVERYWHERE:
            return await self._everywhere(scope, caller, here)
        if region == await run(self._threads, elsewhere.own_name, self._database):
            scope["headers"] = [each for each in scope["headers"] if each[0] != HEADER]
            await here(scope, receive, send)
            return None
        elsewhere.check(scope["path"])
        file = elsewhere.is_upload(scope["method"], scope["path"])
        query = scope["query_string"].decode("latin-1")
        wait = _WAIT.search(query)
        asked = Asked(
            method=scope["method"],
            path=scope["path"],
            query=query,
            headers=tuple(
                (name.decode(), value.decode("latin-1"))
                for name, value in scope["headers"]
                if name in _GO_ON
            ),
            body=b"" if file else await incoming.body(receive, said),
            waits=int(wait[1]) if wait else 0,
        )
        if file:
            return await self._sent(caller, region, asked, receive)
        if elsewhere.is_stream(asked.method, asked.path):
            by, ask = await run(
                self._threads,
                elsewhere.passing,
                self._database,
                self._around,
                caller,
                region,
                asked,
            )
            still = partial(run, self._threads, self._gate.still(said, scope))
            return await self._streams.follow(caller, by, region, ask, still, receive, send)
        if self._under_way >= _WAITING:
            raise Unavailable("too many calls for other regions at once; ask again in a moment")
        self._under_way += 1
        try:
            answer = await run(
                self._threads, elsewhere.carry, self._database, self._around, caller, region, asked
            )
        finally:
            self._under_way -= 1
        if elsewhere.is_console(asked.method, asked.path) and answer.status == _MADE:
            return self._own_ticket(caller, region, answer)
        return answer

    async def _sent(self, caller: Caller, region: str, asked: Asked, receive: Receive) -> PassOut:
        """A file: read as the other region takes it, so it is never here as a whole, nor more than a piece of it."""
        if self._uploads >= _FILES:
            raise Unavailable(
                f"{_FILES} files are on their way to other regions already; send it again in a while"
            )
        self._uploads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._files,
                elsewhere.send,
                self._database,
                self._around,
                caller,
                region,
                asked,
                pieces(receive, asyncio.get_running_loop()),
            )
        finally:
            self._uploads -= 1

    def _own_ticket(self, caller: Caller, region: str, answer: PassOut) -> PassOut:
        """A ticket for a door of this region, behind which is the one that was given there."""
        given = msgspec.json.decode(answer.body, type=ConsoleOut)
        tickets = self._around.consoles
        if tickets is None or given.ticket is None:
            raise Unavailable("this management server serves no consoles")
        own = tickets.issue(FarVisit(caller.user, region, given.ticket))
        body = msgspec.json.encode(msgspec.structs.replace(given, ticket=own))
        return msgspec.structs.replace(answer, body=body)

    async def _everywhere(self, scope: Scope, caller: Caller, here: Application) -> PassOut:
        """A list of all regions. Its questions have threads of their own: a cut WAN holds up no other call."""
        elsewhere.check_everywhere(scope["method"], scope["path"])
        run = asyncio.get_running_loop().run_in_executor
        database, around = self._database, self._around
        near = await run(self._many, elsewhere.near, database, around, caller)
        said = tuple(
            (name.decode(), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name in _GO_ON
        )

        async def ask(region: Near, query: str) -> PassOut:
            asked = Asked(
                method="GET", path=scope["path"], query=query, headers=said, body=b"", waits=0
            )
            if region.own:
                return await _done(here, _own(asked), caller, region.region)
            return await run(
                self._many, elsewhere.carry, database, around, caller, region.region, asked
            )

        found = await everywhere(
            near, scope["query_string"].decode("latin-1"), ask, around.clock.now()
        )
        headers = (("content-type", "application/json"), ("cache-control", "no-store"))
        return PassOut(status=200, headers=headers, body=msgspec.json.encode(found))


def _own(asked: Asked) -> PassIn:
    """A question to the region itself; who asks is known already."""
    return PassIn(
        account="", user="", permissions=(), method="GET", path=asked.path, query=asked.query,
        headers=asked.headers,
    )  # fmt: skip


def _refusal(error: Exception, request: str) -> PassOut:
    headers = [("content-type", problems.MEDIA_TYPE.decode()), ("cache-control", "no-store")]
    if isinstance(error, problems.Fault):
        problem = problems.of_fault(error, request)
        headers += [(name.decode(), value.decode()) for name, value in error.headers.items()]
    elif isinstance(error, CloudError):
        problem = problems.of_error(error, request)
    else:
        log.error("a call for another region was not foreseen", exc_info=error)
        problem = problems.of_bug(request)
    return PassOut(status=problem.status, headers=tuple(headers), body=problems.body(problem))


def reach(database: Database, around: Surroundings) -> Reach:
    """How consoles of other regions are had (`api/console.py`)."""

    def look(region: str) -> Way:
        with database.read() as tx:
            return elsewhere.way(tx, around, region)

    @asynccontextmanager
    async def reached(visit: FarVisit) -> AsyncIterator[FarLine]:
        way = await asyncio.get_running_loop().run_in_executor(None, look, visit.region)
        async with way.door.console(way.link, way.url, visit.region, visit.ticket) as line:
            yield line

    return reached


def console(consoles: Consoles) -> GridSocket:
    """The other end of that, at the grid port."""

    async def opened(region: str, found: tuple[str, ...], receive: Receive, send: Send) -> None:
        await consoles.from_elsewhere(region, found[0], receive, send)

    return GridSocket(re.compile(re.escape(CONSOLE) + r"([0-9A-Za-z_-]{1,255})"), opened)


def stream(database: Database, application: Application) -> GridSocket:
    """Streams of events, at the grid port. Whether the region may still ask for them is looked at now and then."""

    def known(region: str, ask: PassIn) -> Caller:
        with database.read() as tx:
            return elsewhere.caller(tx, region, ask)

    async def opened(region: str, _found: tuple[str, ...], receive: Receive, send: Send) -> None:
        far = FarStream(receive, send)
        try:
            ask = await far.asked()
            if not elsewhere.is_stream(ask.method, ask.path):
                raise BadInput("this is no stream", field="path")
            caller = await asyncio.get_running_loop().run_in_executor(None, known, region, ask)
            scope = _scope(ask, caller, region)
            scope[STILL] = partial(known, region, ask)
            await application(scope, far.receive, far.answer)
        except (ClientGone, TimeoutError):
            pass
        except CloudError as error:
            await far.refuse(_refusal(error, "grid"))
        await far.end()

    return GridSocket(re.compile(re.escape(FOLLOW)), opened)


def routes(database: Database, application: Application) -> list[GridRoute]:
    """The other end: what regions pass on is done by the API, as whom that caller may be here."""

    def known(region: str, ask: PassIn) -> Caller:
        with database.read() as tx:
            return elsewhere.caller(tx, region, ask)

    async def passed(request: GridRequest) -> GridAnswer:
        try:
            ask = msgspec.json.decode(await request.body(), type=PassIn)
        except msgspec.DecodeError as error:
            raise BadInput("not a call that was passed on", field="body") from error
        if elsewhere.is_upload(ask.method, ask.path):
            raise BadInput("a file comes by another way", field="path")
        if elsewhere.is_stream(ask.method, ask.path):
            raise BadInput("a stream goes another way", field="path")
        caller = await asyncio.get_running_loop().run_in_executor(None, known, request.region, ask)
        return json_answer(await _done(application, ask, caller, request.region))

    async def brought(request: GridRequest) -> GridAnswer:
        file = PassedFile(request.receive)
        ask = await file.head()
        try:
            if not elsewhere.is_upload(ask.method, ask.path):
                raise BadInput("this brings no file", field="path")
            caller = await asyncio.get_running_loop().run_in_executor(
                None, known, request.region, ask
            )
            answer = await _done(application, ask, caller, request.region, file.receive)
        finally:
            await file.rest()
        if not answer.headers:
            raise Unavailable("the file broke off")
        return json_answer(answer)

    return [
        GridRoute("POST", re.compile(re.escape(ELSEWHERE)), passed),
        GridRoute("POST", re.compile(re.escape(UPLOAD)), brought),
    ]


def _scope(ask: PassIn, caller: Caller, region: str) -> Scope:
    return {
        "type": "http",
        "method": ask.method,
        "path": ask.path,
        "query_string": ask.query.encode("latin-1"),
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in ask.headers
            if name.encode("latin-1") in _GO_ON
        ],
        "client": (region, 0),
        CALLER: caller,
    }


async def _done(
    application: Application,
    ask: PassIn,
    caller: Caller,
    region: str,
    file: Receive | None = None,
) -> PassOut:
    """`file`: what is received; else the body that came with it."""
    status, body = 500, bytearray()
    headers: list[tuple[bytes, bytes]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": ask.body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.extend(message["headers"])
        else:
            body.extend(message.get("body", b""))

    await application(_scope(ask, caller, region), file or receive, send)
    return told(status, headers, bytes(body))
