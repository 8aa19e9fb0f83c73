"""The one door through which time comes in (rule 12). Everything else takes a `Clock`."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """The wall clock, in UTC. May jump; for records, never for measuring spans."""

    def monotonic(self) -> float:
        """Seconds that only grow; for time-outs and spans within this process."""

    def wait(self, span: timedelta) -> None:
        """Return after `span`."""


class RealClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the door

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 - this is the door

    def wait(self, span: timedelta) -> None:
        time.sleep(span.total_seconds())  # noqa: TID251 - this is the door


class VirtualClock:
    """Time moves only when somebody waits, so an hour costs nothing."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._ticks = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._ticks

    def wait(self, span: timedelta) -> None:
        self._now += span
        self._ticks += span.total_seconds()

    def jump(self, span: timedelta) -> None:
        """Set the wall clock forward or back, as an administrator or a bad NTP server would."""
        self._now += span
