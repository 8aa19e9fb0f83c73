"""The region's time: the database's, which all management servers share, carried on by each one's own monotonic clock.

Servers write moments that others compare with theirs: when a host was heard, until when something is put off, since
when something is used. By their own wall clocks, a server that is ten minutes ahead would take every host for lost
that another one has just heard. So a server's wall clock counts only until it has first reached the database
(docs/decisions/0049). Each heartbeat tells what the time is there.
"""

from datetime import datetime, timedelta

from arable.runtime.clock import Clock


class SharedClock:
    """A `Clock`. `own` is the machine's."""

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._zero: datetime | None = None  # what the time was there when our monotonic clock was 0

    def now(self) -> datetime:
        zero = self._zero
        return self._own.now() if zero is None else zero + _span(self._own.monotonic())

    def monotonic(self) -> float:
        return self._own.monotonic()

    def wait(self, span: timedelta) -> None:
        self._own.wait(span)

    def heard(self, at: datetime, asked: float, answered: float) -> None:
        """It was `at` there, at some time between these two of our monotonic clock.

        What we reckon already stays, if it can be right: an answer that took long says little, and time does not
        go to and fro with each of them. Else it is set by as little as will do.
        """
        earliest, latest = at - _span(answered), at - _span(asked)
        zero = self._zero
        self._zero = earliest if zero is None else min(max(zero, earliest), latest)


def _span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
