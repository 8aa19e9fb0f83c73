"""Keeps strangers from using up the server before anybody knows who they are.

Guessing a join token is hopeless (200 bits); what has to be bounded is the work that trying makes. A source that
failed too often waits; hosts that bring good tokens are never held up, however many come from one address.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from arable.domain.errors import TooOften
from arable.runtime.clock import Clock

FAILURES = 10
"""As many in a row are forgiven, and one more with each `FORGIVEN` seconds."""
FORGIVEN = 6.0
_SOURCES = 10_000


@dataclass
class Door:
    """Counts failures by source, for as many sources as it can remember."""

    clock: Clock
    _failed: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def check(self, source: str) -> None:
        """Raises `TooOften` for a source that has to wait."""
        count = self._count(source)
        if count >= FAILURES:
            wait = int((count - FAILURES + 1) * FORGIVEN) + 1
            raise TooOften("too many failures from here; wait a moment", why={"retry_after": wait})

    def failed(self, source: str) -> None:
        """Somebody there got it wrong."""
        self._failed[source] = (self._count(source) + 1, self.clock.monotonic())
        self._failed.move_to_end(source)
        if len(self._failed) > _SOURCES:
            self._failed.popitem(last=False)

    def _count(self, source: str) -> float:
        count, at = self._failed.get(source, (0.0, 0.0))
        return max(0.0, count - (self.clock.monotonic() - at) / FORGIVEN)
