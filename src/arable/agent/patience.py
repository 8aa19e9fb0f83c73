"""What went wrong with which item, why, and when it is tried again.

One for each agent, keyed by the item's id (ids of all kinds differ, and so do digests), so a reason given by the
storage can be told with the guest that waits for it. The n-th failure in a row waits twice as long as the one
before. Time is monotonic and not kept over a restart: a new agent tries everything once, at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from arable.domain.errors import CloudError, Unavailable
from arable.runtime.clock import Clock
from arable.runtime.full_disk import or_no_room

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 300.0
FORGOTTEN_SECONDS = 600.0


class Waiting(Unavailable):
    """Not there yet, and on its way without us: no failure, asked again at the next step."""


@dataclass(slots=True)
class Trouble:
    """An item that is not as it should be. `tries` counts failures in a row."""

    told: str = ""
    tries: int = 0
    until: float = 0.0
    at: float = 0.0  # when it was last met


class Patience:
    """Remembers troubles."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._troubles: dict[str, Trouble] = {}

    def may(self, key: str) -> bool:
        """Whether it is time to try this item (again)."""
        trouble = self._troubles.get(key)
        return trouble is None or self._clock.monotonic() >= trouble.until

    def of(self, key: str) -> Trouble | None:
        """What is wrong with this item."""
        return self._troubles.get(key)

    def tries(self, key: str) -> int:
        """Its failures in a row."""
        trouble = self._troubles.get(key)
        return trouble.tries if trouble else 0

    def failed(self, key: str, told: str, tries: int = 0) -> None:
        """One more failure; `tries` says how many are known from before a restart."""
        trouble = self._troubles.setdefault(key, Trouble(tries=tries))
        trouble.told = told
        trouble.tries += 1
        span = min(FIRST_SECONDS * 2.0 ** min(trouble.tries - 1, 20), LONGEST_SECONDS)
        trouble.at = self._clock.monotonic()
        trouble.until = trouble.at + span

    def waits(self, key: str, told: str, seconds: float = 0.0) -> None:
        """Not ready, and nobody's fault; not to be tried again for so long."""
        trouble = self._troubles.setdefault(key, Trouble())
        trouble.told = told
        trouble.at = self._clock.monotonic()
        if seconds:
            trouble.until = trouble.at + seconds

    def hurry(self, key: str) -> None:
        """The wish changed: try anew at once. The count stays, it ends with a success."""
        trouble = self._troubles.get(key)
        if trouble:
            trouble.until = 0.0

    def fine(self, key: str) -> None:
        """Nothing is wrong with it (any more)."""
        self._troubles.pop(key, None)

    @contextmanager
    def attempt(self, key: str) -> Iterator[None]:
        """Do something about the item: what goes wrong is remembered, and raised on."""
        try:
            with or_no_room():
                yield
        except Waiting as error:
            self.waits(key, error.public)
            raise
        except CloudError as error:
            self.failed(key, error.public)
            raise
        self.fine(key)

    def __bool__(self) -> bool:
        return bool(self._troubles)

    def prune(self) -> None:
        """Forget troubles of items that nobody tries any more: no longer wished for."""
        before = self._clock.monotonic() - FORGOTTEN_SECONDS
        for key in [k for k, t in self._troubles.items() if max(t.at, t.until) < before]:
            del self._troubles[key]

    def next(self) -> float | None:
        """When something is to be tried again, in monotonic time."""
        now = self._clock.monotonic()
        return min((t.until for t in self._troubles.values() if t.until > now), default=None)
