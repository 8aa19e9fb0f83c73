"""Rounds on their way: given to the store's writer, not ended yet. By them one sees that a server's work stands still."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from arable.runtime.clock import Clock
from arable.runtime.metrics import ControllerFigures
from arable.store.database import Tx
from arable.store.writer import Writer

T = TypeVar("T")

STALLED = 10.0
"""Seconds after which a round counts as stalled: a thousand times what one for a single farm takes."""


@dataclass(slots=True)
class Underway:
    """Submitted by one thread, ended by the writer's."""

    writer: Writer
    clock: Clock
    _begun: dict[int, float] = field(default_factory=dict)  # since when
    _count: int = 0

    def submit(self, work: Callable[[Tx], T]) -> "Future[T]":
        """As the writer's; noted until it has ended."""
        number = self._count = self._count + 1
        self._begun[number] = self.clock.monotonic()
        future = self.writer.submit(work)
        future.add_done_callback(lambda _done: self._begun.pop(number, None))
        return future

    def lag(self) -> float:
        """For how many seconds the oldest has not ended."""
        begun = list(self._begun.values())
        return self.clock.monotonic() - min(begun) if begun else 0.0

    @contextmanager
    def round(self, figures: ControllerFigures, about: str = "") -> Iterator[None]:
        """A controller's round, measured; what it is about, for whoever finds it stalled."""
        began = self.clock.monotonic()
        figures.rounds += 1
        figures.about, figures.since = about, began
        try:
            yield
        finally:
            figures.since = None
            figures.last = self.clock.monotonic() - began
            figures.seconds += figures.last
