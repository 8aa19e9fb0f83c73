"""At which pace agents are let in: a handshake costs a millisecond of the loop on which everything else waits.

Whoever comes gets a turn. Turns are `rate` a second after a first few at once; while the last one given is far ahead
nobody is let wait any more, and whoever can be told is told when to come back: the more of them there were, the later.
All figures are bounded, whatever the number of agents. Other management servers don't wait: they ask whether we live.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

RATE = 300.0
"""Agents a second; a third of a core is left for everybody else."""
AT_ONCE = 32
"""So many need not wait for each other."""
LONGEST = 10.0
"""Seconds that somebody may wait for a turn: a connection that is not spoken to for longer is given up by its agent."""
SOONEST, LATEST = 2.0, 120.0
"""Seconds after which those may come back for whom there is no turn."""


@dataclass(slots=True)
class Pace:
    """One server's."""

    monotonic: Callable[[], float]
    rate: float = RATE
    _free: float = 0.0  # when the next turn is
    _away: float = 0.0  # so many were sent away, less those who could have come in since ...
    _away_at: float = 0.0  # ... as of then
    refused: int = 0
    first: frozenset[str] = field(default_factory=frozenset)
    """Addresses of those who never wait."""

    def turn(self, source: str = "") -> float | None:
        """In how many seconds it is the turn of somebody who came now; None: there is none."""
        if source in self.first:
            return 0.0
        now = self.monotonic()
        free = max(self._free, now - (AT_ONCE - 1) / self.rate)
        wait = max(free - now, 0.0)
        if wait > LONGEST:
            self.refused += 1
            return None
        self._free = free + 1.0 / self.rate
        return wait

    def ahead(self) -> float:
        """Seconds until whoever comes now would have a turn."""
        return max(self._free - self.monotonic(), 0.0)

    def come_back(self) -> int:
        """In how many seconds somebody should come back that is sent away: after all who were sent away before."""
        now = self.monotonic()
        self._away = max(self._away - (now - self._away_at) * self.rate, 0.0) + 1.0
        self._away_at = now
        self.refused += 1
        return round(min(SOONEST + self.ahead() + self._away / self.rate, LATEST))
