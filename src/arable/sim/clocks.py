"""Clocks that disagree: each process of a simulated world tells the time by its own machine's."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from arable.runtime.clock import Clock

HOST_DRIFT = 0.01
"""A lease's margin is a tenth of it (docs/decisions/0007), for clocks that differ and for the watchdog to act. Clocks of
machines that somebody looks after differ by far less than a hundredth."""
SERVER_DRIFT = 0.015


@dataclass(slots=True)
class SkewedClock:
    """A machine's own: set wrong by hours, and running a little too fast or too slow."""

    true: Clock
    offset: timedelta = timedelta()
    rate: float = 1.0

    def now(self) -> datetime:
        return self.true.now() + self.offset

    def monotonic(self) -> float:
        return self.true.monotonic() * self.rate

    def wait(self, span: timedelta) -> None:
        raise AssertionError(f"nobody waits here ({span})")
