"""The live stream of events (server-sent events): one look at the store for all streams, none held open while waiting.

A tail reads everybody's new events once and hands each stream what concerns it; what a stream missed before it began
is read for it alone. Numbers are given when an event is written and seen when its transaction is committed, which on
PostgreSQL may be in another order: the tail stops at a gap until it is filled, or has stayed for so long that the
transaction must have been rolled back. So a stream's numbers only grow, and the last one is where to go on.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor as Pool
from dataclasses import dataclass, field
from typing import Any

import msgspec

from arable.api.hub import Hub
from arable.api.incoming import Receive
from arable.api.metrics import Metrics
from arable.domain.access import Caller
from arable.domain.errors import BadInput, CloudError, TooOften, Unavailable
from arable.domain.event import Event
from arable.services import events
from arable.services.call import Call
from arable.services.credentials import NOBODY
from arable.services.events import Following
from arable.services.execution import Executor

log = logging.getLogger(__name__)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PER_USER = 8
IN_ALL = 1000
HEARTBEAT = 15.0
_LOOK = 1.0  # seconds between looks without a nudge: another server may have written
_GAP = 5.0  # seconds after which a missing number is taken for rolled back
_BACKLOG = 1000  # events that a slow reader may be behind before it is sent away, to come again
_PAGE = 500
_ENCODER = msgspec.json.Encoder()


@dataclass(eq=False)
class _Stream:
    following: Following
    queue: "asyncio.Queue[Event | None]" = field(
        default_factory=lambda: asyncio.Queue(_BACKLOG + 1)
    )

    def put(self, event: Event) -> None:
        if self.queue.qsize() >= _BACKLOG:
            self.end()
        else:
            self.queue.put_nowait(event)

    def end(self) -> None:
        """It goes on from its last number when its reader comes again."""
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class EventStreams:
    """All streams of this server. On the event loop; `run` is its one task."""

    def __init__(
        self,
        executor: Executor,
        hub: Hub,
        metrics: Metrics,
        pool: Pool,
    ) -> None:
        self._executor = executor
        self._hub = hub
        self._metrics = metrics
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._streams: set[_Stream] = set()
        self._by_user: Counter[str] = Counter()
        self._seen = -1  # everything up to here was handed out; unknown while nobody follows
        self._gap_since = 0.0
        self._begun = asyncio.Event()
        self._looking = asyncio.Lock()
        self._closed = False

    async def run(self) -> None:
        """Read the tail while anybody follows."""
        while True:
            if not self._streams:
                self._seen = -1
                self._begun.clear()
                await self._begun.wait()
            nudged = self._hub.listen(events.TOPIC)
            try:
                more = await self._advance()
            except Exception:
                log.exception("the tail of the events could not be read")
                more = False
            if more:
                nudged.cancel()
            else:
                await self._hub.changed(nudged, _LOOK)

    def close(self) -> None:
        """End all streams and begin no more, so that the server can stop."""
        self._closed = True
        for stream in self._streams:
            stream.end()

    async def serve(
        self,
        caller: Caller,
        asked: Any,
        last_event_id: str,
        still: Callable[[], object],
        receive: Receive,
        send: Send,
    ) -> None:
        """One stream, from its first byte to its end. `still` raises, on a thread, when the caller may not follow any more."""
        if self._by_user[caller.user] >= PER_USER:
            raise TooOften(
                f"you follow {PER_USER} streams already; close one", why={"retry_after": 5}
            )
        if self._closed:
            raise Unavailable("this server is about to stop; ask another, or later")
        if len(self._streams) >= IN_ALL:
            raise Unavailable("this server has no streams left; ask another, or later")
        after = _after(last_event_id or asked.after)
        following: Following = await self._read(caller, events.stream, asked)
        stream = _Stream(following)
        self._by_user[caller.user] += 1
        self._streams.add(stream)
        self._metrics.streams.set(len(self._streams))
        try:
            async with self._looking:
                if self._seen < 0:
                    self._seen = await self._read(NOBODY, _last)
                known = self._seen
            self._begun.set()
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", b"text/event-stream"),
                        (b"cache-control", b"no-store"),
                        (b"x-content-type-options", b"nosniff"),
                        (b"arable-request", caller.request.encode()),
                    ],
                }
            )
            await self._until_gone(stream, after, known, still, receive, send)
        finally:
            self._streams.discard(stream)
            self._by_user[caller.user] -= 1
            if not self._by_user[caller.user]:
                del self._by_user[caller.user]
            self._metrics.streams.set(len(self._streams))

    async def _until_gone(
        self,
        stream: _Stream,
        after: int | None,
        known: int,
        still: Callable[[], object],
        receive: Receive,
        send: Send,
    ) -> None:
        gone = asyncio.ensure_future(_hung_up(receive))
        feeding = asyncio.ensure_future(self._feed(stream, after, known, still, send))
        try:
            await asyncio.wait([gone, feeding], return_when=asyncio.FIRST_COMPLETED)
            if feeding.done() and not gone.done():
                error = feeding.exception()
                if error is not None and not isinstance(error, CloudError | OSError):
                    log.error("a stream failed", exc_info=error)
                with contextlib.suppress(OSError):
                    await send({"type": "http.response.body", "body": b""})
        finally:
            for task in (gone, feeding):
                task.cancel()
            await asyncio.gather(gone, feeding, return_exceptions=True)

    async def _feed(
        self,
        stream: _Stream,
        after: int | None,
        known: int,
        still: Callable[[], object],
        send: Send,
    ) -> None:
        await _chunk(send, b": following\n\n")
        sent = known if after is None else after
        while after is not None and sent < known:
            missed: list[Event] = await self._read(
                stream.following.caller, events.missed, stream.following, sent, known, _PAGE
            )
            for event in missed:
                await _chunk(send, _frame(event))
            sent = missed[-1].number if len(missed) == _PAGE else known
        checked = self._loop.time()
        while True:
            silent = False
            new: Event | None = None
            try:
                new = await asyncio.wait_for(_next(stream), HEARTBEAT)
            except TimeoutError:
                silent = True
                await _chunk(send, b": still here\n\n")
            if self._loop.time() - checked >= HEARTBEAT:
                # A credential that was revoked ends its streams; what it could see is not asked for anew.
                await self._loop.run_in_executor(self._pool, still)
                checked = self._loop.time()
            if new is None:
                if silent:
                    continue
                return
            if new.number > sent:
                await _chunk(send, _frame(new))

    async def _advance(self) -> bool:
        """Hand out what is new; whether there may be more at once."""
        async with self._looking:
            if self._seen < 0:
                return False
            found: list[tuple[Event, str]] = await self._read(NOBODY, _tail, self._seen)
            for event, path in found:
                if event.number != self._seen + 1 and self._waits_for_gap():
                    return False
                self._gap_since = 0.0
                self._seen = event.number
                for stream in self._streams:
                    if events.concerns(stream.following, event, path):
                        stream.put(event)
            return len(found) >= _PAGE

    def _waits_for_gap(self) -> bool:
        """With one writer numbers are given in the order of commits: a gap is final at once."""
        if self._executor.one_writer:
            return False
        now = self._loop.time()
        self._gap_since = self._gap_since or now
        return now - self._gap_since < _GAP

    async def _read(self, caller: Caller, does: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._pool, self._executor.read, caller, does, args)


async def _next(stream: _Stream) -> Event | None:
    return await stream.queue.get()


def _last(call: Call) -> int:
    return events.last(call.tx)


def _tail(call: Call, after: int) -> list[tuple[Event, str]]:
    return events.tail(call.tx, after, _PAGE)


def _after(said: str | None) -> int | None:
    if not said:
        return None
    if not said.isascii() or not said.isdigit() or len(said) > 15:
        raise BadInput("the number of an event", field="last-event-id")
    return int(said)


def _frame(event: Event) -> bytes:
    data = _ENCODER.encode(events.shown(event))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.kind.encode(), data)


async def _chunk(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
