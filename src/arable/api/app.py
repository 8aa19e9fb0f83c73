"""The API as one ASGI application: operations under `/v1/`, and beside them what describes and watches them.

`Server` dispatches operations itself; everything else (documentation, health, metrics, and what the process adds: the
agents' gateway, the console) is Starlette's. The process tells it what was nudged (`nudged`), and starts and stops it
by ASGI's lifespan.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from arable.api import docs, openapi, problems
from arable.api.adaptor import Adaptor, Send
from arable.api.elsewhere import Elsewhere, region_of
from arable.api.gate import Gate
from arable.api.hub import Hub
from arable.api.incoming import Receive, Scope
from arable.api.inside import InsideGate
from arable.api.metrics import Metrics
from arable.api.operation import Op
from arable.api.streams import EventStreams
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import UserId
from arable.services import housekeeping
from arable.services.call import Surroundings
from arable.services.credentials import TOPIC as CREDENTIALS
from arable.services.credentials import Credentials
from arable.services.execution import Database, Executor, Writer

log = logging.getLogger(__name__)

_READERS = 6  # threads that look into the store
_SWEEP_SECONDS = 600


class Server:
    """The application. Made on any thread; lives on the loop that runs it."""

    def __init__(
        self,
        operations: Sequence[Op],
        database: Database,
        writer: Writer,
        around: Surroundings,
        *,
        routes: Sequence[BaseRoute] = (),
        metrics: Metrics | None = None,
        drained: Callable[[], bool] = lambda: False,
        inside: Sequence[Op] = (),
    ) -> None:
        """`inside` is what programs in farms may ask. `drained`: whether other servers are to do our work, until further notice."""
        self._drained = drained
        self.metrics = metrics or Metrics()
        self._operations = operations
        self._executor = Executor(database, writer, around)
        self._credentials = Credentials(database, writer, around.clock)
        self._writer = writer
        self._hub: Hub | None = None
        self._adaptor: Adaptor | None = None
        self._elsewhere: Elsewhere | None = None
        self._streams: EventStreams | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._gate = Gate(self._credentials, self._readers)
        self._inside = inside
        self._inside_gate = InsideGate(database, around, self._readers)
        self._inside_adaptor: Adaptor | None = None
        self._draining = False
        self._outside = Starlette(
            routes=[
                *routes,  # first, so that a console is what one finds at `/`
                *openapi.routes(operations),
                *docs.routes(),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
            ],
            lifespan=self._lifespan,
            exception_handlers={404: _not_found, 405: _not_found},
        )

    def nudged(self, topics: Iterable[str]) -> None:
        """What a commit nudged, from any thread: to be called by the writer's `committed`, before answers are told."""
        topics = set(topics)
        if CREDENTIALS in topics:
            self._credentials.forget()
        if self._hub is not None:
            self._hub.tell(topics)

    async def identify(self, scope: Scope) -> UserId | None:
        """Whose credential a websocket's request brings; see `api/console.py`."""
        return await self._gate.user(scope)

    async def done_for(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An operation for a caller whom another region let in (`api/elsewhere.py`)."""
        if self._adaptor is None:
            raise Unavailable("this server is not up yet, or not any more")
        await self._adaptor(scope, receive, send)

    def drain(self) -> None:
        """Go on, but say that it won't be for long: load balancers send nobody new, and connections end by and by."""
        self._draining = True

    def leaving(self) -> None:
        """The process is about to stop, from any thread: end what has no end, or it is waited for in vain."""
        if self._loop is not None and not self._loop.is_closed():
            if self._streams is not None:
                self._loop.call_soon_threadsafe(self._streams.close)
            if self._elsewhere is not None:
                self._loop.call_soon_threadsafe(self._elsewhere.leave)
        if self._hub is not None:
            self._hub.close()

    async def inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request of a program in a farm, which its router's agent brought (`api/inside.py`)."""
        if self._inside_adaptor is None:
            raise Unavailable("this server is not ready yet")
        await self._inside_adaptor(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._draining or self._drained():
            send = _last_on_its_connection(send)
        if scope["type"] == "http" and self._adaptor is not None and _is_operation(scope["path"]):
            if self._elsewhere is not None and region_of(scope) is not None:
                await self._elsewhere(scope, receive, send, self._adaptor)
            else:
                await self._adaptor(scope, receive, send)
        else:
            await self._outside(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        loop = self._loop = asyncio.get_running_loop()
        self._hub = Hub(loop)
        streams = self._streams = EventStreams(
            self._executor, self._hub, self.metrics, self._readers
        )
        parts = (self._hub, streams, self.metrics, self._readers)
        self._adaptor = Adaptor(self._operations, self._executor, self._gate, *parts)
        self._inside_adaptor = Adaptor(self._inside, self._executor, self._inside_gate, *parts)
        self._elsewhere = Elsewhere(self._gate, self._executor.database, self._executor.around)
        before = self._writer.settle
        self._writer.settle = _settle_on(loop)
        tasks = [asyncio.ensure_future(streams.run()), asyncio.ensure_future(self._sweep())]
        try:
            yield
        finally:
            self._writer.settle = before
            streams.close()
            self._elsewhere.leave()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._adaptor.close()
            self._inside_adaptor.close()
            self._elsewhere.close()
            self._readers.shutdown(wait=False, cancel_futures=True)

    async def _sweep(self) -> None:
        """Throw away, now and then, what is kept for a time only."""
        while True:
            try:
                self._writer.submit(
                    lambda tx: housekeeping.sweep(tx, self._executor.around.clock.now())
                )
            except CloudError as error:
                log.warning("nothing could be swept: %s", error.public)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _healthz(self, _request: Request) -> Response:
        """The process answers."""
        return PlainTextResponse("ok\n")

    async def _readyz(self, _request: Request) -> Response:
        """So does its store, and will for a while."""
        if self._draining or self._drained():
            return PlainTextResponse("draining\n", status_code=503)
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(
                loop.run_in_executor(self._readers, self._executor.answers), timeout=5
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no service
            log.warning("not ready: %r", error)
            return PlainTextResponse("the store does not answer\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def _metrics(self, _request: Request) -> Response:
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(self._readers, self.metrics.text)  # it looks at the store
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def build(
    operations: Sequence[Op],
    database: Database,
    writer: Writer,
    around: Surroundings,
    *,
    routes: Sequence[BaseRoute] = (),
    metrics: Metrics | None = None,
    drained: Callable[[], bool] = lambda: False,
    inside: Sequence[Op] = (),
) -> Server:
    """The whole application. The writer must have been started, and tell `nudged` what it committed."""
    return Server(
        operations,
        database,
        writer,
        around,
        routes=routes,
        metrics=metrics,
        drained=drained,
        inside=inside,
    )


def _last_on_its_connection(send: Send) -> Send:
    """Whoever asks again on this connection might find it closed, and would not know whether they were heard."""

    async def told(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return told


def _is_operation(path: str) -> bool:
    return path.startswith("/v1/") or path == "/v1"


def _settle_on(
    loop: asyncio.AbstractEventLoop,
) -> Callable[[Callable[[], None]], None]:
    """Deliver a whole commit's answers by one wake-up of the loop; when the loop has gone, at once."""

    def settle(deliver: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(deliver)
        except RuntimeError:
            deliver()

    return settle


async def _not_found(_request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    kind = "not-found" if status == 404 else "method-not-allowed"
    fault = problems.Fault(status, kind, "there is nothing at this path")
    return Response(
        problems.body(problems.of_fault(fault, "")),
        status_code=status,
        media_type=problems.MEDIA_TYPE.decode(),
        headers=getattr(error, "headers", None),
    )
