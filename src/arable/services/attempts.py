"""How often somebody may guess a password: by source and name, by source, and in all, before any work is done for it.

Kept in the memory of one management server: with several, a guesser gets that many times as many. Wrong and right
guesses cost the same until they are told apart; a right one gives back what its name has used.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from arable.domain.errors import TooOften
from arable.runtime.clock import Clock

_MOST = 10_000  # buckets; the one that was not used for the longest time goes first


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many at once, and one more after each `seconds`."""

    burst: int
    seconds: float


PER_NAME = Allowance(8, 15.0)
PER_SOURCE = Allowance(40, 1.5)
IN_ALL = Allowance(100, 0.05)


@dataclass
class Attempts:
    """Token buckets. Safe to share between threads."""

    _buckets: "OrderedDict[tuple[str, ...], tuple[float, float]]" = field(
        default_factory=OrderedDict
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, clock: Clock, source: str, name: str) -> None:
        """Count one attempt; raises `TooOften` and says when the next one is possible."""
        now = clock.monotonic()
        wanted = (((source, name), PER_NAME), ((source,), PER_SOURCE), ((), IN_ALL))
        with self._lock:
            left = [self._left(key, allowance, now) for key, allowance in wanted]
            for (_key, allowance), tokens in zip(wanted, left, strict=True):
                if tokens < 1:
                    after = int((1 - tokens) * allowance.seconds) + 1
                    raise TooOften(
                        f"too many attempts; try again in {after} seconds",
                        why={"retry_after": after},
                    )
            for (key, _allowance), tokens in zip(wanted, left, strict=True):
                self._buckets[key] = (tokens - 1, now)
                self._buckets.move_to_end(key)
            while len(self._buckets) > _MOST:
                self._buckets.popitem(last=False)

    def right(self, source: str, name: str) -> None:
        """That one knew the password."""
        with self._lock:
            self._buckets.pop((source, name), None)

    def _left(self, key: tuple[str, ...], allowance: Allowance, now: float) -> float:
        tokens, at = self._buckets.get(key, (float(allowance.burst), now))
        return min(allowance.burst, tokens + max(now - at, 0) / allowance.seconds)
