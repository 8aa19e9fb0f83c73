"""Wakes those in this process who wait for something to change; a nudge is a hint, so each of them also has a timer."""

import asyncio
from collections.abc import Iterable


class Hub:
    """`tell` from any thread; everything else on the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self.closed = False

    def close(self) -> None:
        """Nobody shall wait any more. From any thread."""
        self.closed = True
        self.tell(list(self._waiting))

    def tell(self, nudged: Iterable[str]) -> None:
        """After a commit. Whoever begins to wait later reads later, and sees what was committed."""
        topics = [topic for topic in nudged if topic in self._waiting]
        if topics and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, topics)

    async def changed(self, waiting: "asyncio.Future[None]", seconds: float) -> None:
        """Until the topic that `waiting` listens to was nudged, or the time is over."""
        try:
            await asyncio.wait([waiting], timeout=max(seconds, 0))
        finally:
            waiting.cancel()

    def listen(self, topic: str) -> "asyncio.Future[None]":
        """Ask this before looking, and wait for it after; a nudge in between is not lost."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.setdefault(topic, set()).add(future)
        future.add_done_callback(lambda done: self._forget(topic, done))
        return future

    def _forget(self, topic: str, future: "asyncio.Future[None]") -> None:
        waiting = self._waiting.get(topic)
        if waiting is not None:
            waiting.discard(future)
            if not waiting:
                del self._waiting[topic]

    def _wake(self, topics: list[str]) -> None:
        for topic in topics:
            for future in self._waiting.pop(topic, set()):
                if not future.done():
                    future.set_result(None)
