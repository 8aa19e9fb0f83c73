"""How large a zone's idle pool should be: what was recorded in, what it means out. Pure.

For each size of machine that came: how often, how long they stay, and how many there would be with room for all (the
offered load). By these, `pool_size` says how often one that comes finds no room. CPU and memory are reckoned apart, each
as if the other were without end, and the worse one counts. Pools of thousands of machines are reckoned as machines of one
size that vary as much (A. A. Fredericks, "Congestion in blocking systems", Bell System Technical Journal 59, 1980). The pool is taken as one: that it is in pieces, hosts, is not
reckoned with (docs/decisions/0028 says what that leaves out).

The forecast is a straight line through the means of whole weeks, with the interval in which the mean of the week in
question lies nine times of ten, if things go on as they did.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, gcd, sqrt
from typing import NamedTuple

from arable.placement.pool_size import Class, blocking, erlang_b, units_for

DAY = 86_400.0
WEEKS = 8
"""Whole weeks that a trend is drawn through, at most."""
LEAST_WEEKS = 4
WINDOW = 7
"""Days by which the load of today is reckoned."""

_STEPS = 4_000  # in which a pool is reckoned, at most: a walk over all of them is a few tenths of a second
_ROUGH = 1.2  # times as much as it varies it may seem to vary in such steps
# Student's distribution: within so many standard errors lie nine of ten, by degrees of freedom.
_STUDENT = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943)


class Need(NamedTuple):
    """What a machine takes of each dimension."""

    cpu_mhz: int
    memory_mib: int


DIMENSIONS = Need._fields


@dataclass(frozen=True, slots=True)
class Day:
    """What happened of one size in so many seconds.

    `came` got room (`again`: of those, after a host could not start them), `refused` got none, `went` gave it back.
    `held` are the seconds that those which came had room until the day's end, less what those that went missed of it.
    """

    came: int = 0
    again: int = 0
    refused: int = 0
    went: int = 0
    held: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """One size: how many there are now, and its days, the last one first. Those that are missing were quiet."""

    need: Need
    there: int
    days: Mapping[int, Day]


@dataclass(frozen=True, slots=True)
class Span:
    """How much time is recorded: of day 0 so many seconds are over, and in all there are so many."""

    first_day: float
    whole: float

    def of(self, back: int) -> float:
        """How many seconds of this day are recorded."""
        before = self.first_day + (back - 1) * DAY if back else 0.0
        return max(0.0, min(self.first_day if back == 0 else DAY, self.whole - before))


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of one size. `stay` are seconds, None where nobody came; `load` is how many there would be."""

    need: Need
    there: int
    seconds: float
    arrivals: int
    refused: int
    stay: float | None
    load: float

    @property
    def per_day(self) -> float:
        """Arrivals."""
        return self.arrivals * DAY / self.seconds if self.seconds else 0.0


def measure(record: Record, span: Span, days: int = WINDOW) -> Measured:
    """By the last so many days.

    How long they stay follows from how many there were and how many came (Little's law), so nobody has to have gone yet. Who
    was refused would have stayed as long as others. Of a size of which none came, each is counted as one that would be there.
    """
    held, seconds = _held(record, span, 0, days)
    some = [day for back, day in record.days.items() if back < days]
    came = sum(day.came - day.again for day in some)
    refused = sum(day.refused for day in some)
    mean = held / seconds if seconds else float(record.there)
    stay = held / came if came > 0 else None
    load = mean * (came + refused) / came if came > 0 else mean + refused
    return Measured(record.need, record.there, seconds, max(came, 0) + refused, refused, stay, load)


def _held(record: Record, span: Span, first: int, after: int) -> tuple[float, float]:
    """Seconds that machines had room in these days, and the days' own. How many there were is reckoned back from now."""
    there, held, seconds = record.there, 0.0, 0.0
    for back in range(after):
        day, length = record.days.get(back, _QUIET), span.of(back)
        there -= day.came - day.went
        if back >= first:
            held += max(there, 0) * length + day.held
            seconds += length
    return max(held, 0.0), seconds


_QUIET = Day()


@dataclass(frozen=True, slots=True)
class Forecast:
    """How much there will be, in times of what was there in the last week: the line's word, and the interval's ends."""

    weeks: int
    low: float
    expected: float
    high: float


def forecast(records: Sequence[Record], span: Span, dimension: str, days: float) -> Forecast | None:
    """In so many days. None where there are too few whole weeks, or the last one had nothing."""
    weeks = min(int(span.whole // (WINDOW * DAY)), WEEKS)
    if weeks < LEAST_WEEKS:
        return None
    means = []
    for week in range(weeks):
        amount = 0.0
        for record in records:
            held, seconds = _held(record, span, week * WINDOW, (week + 1) * WINDOW)
            amount += held / seconds * getattr(record.need, dimension)
        means.append(amount)
    if means[0] <= 0:
        return None
    return _line(means, days / WINDOW)


def _line(means: Sequence[float], ahead: float) -> Forecast:
    """Through the middles of the weeks, the last of which ends now."""
    count = len(means)
    xs = [-(week + 0.5) for week in range(count)]
    x_mean, y_mean = sum(xs) / count, sum(means) / count
    spread = sum((x - x_mean) ** 2 for x in xs)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, means, strict=True)) / spread
    rest = sum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y in zip(xs, means, strict=True))
    off = ahead - x_mean
    error = sqrt(rest / (count - 2)) * sqrt(1 + 1 / count + off**2 / spread)
    expected, wide = y_mean + slope * off, _STUDENT[count - 3] * error
    low, mid, high = (max(0.0, y / means[0]) for y in (expected - wide, expected, expected + wide))
    return Forecast(count, low, mid, high)


# --- chances and sizes


@dataclass(frozen=True, slots=True)
class _Dimension:
    """One dimension: what machines take of it and how many of each there would be, in the mean and as it varies."""

    amounts: tuple[int, ...]
    loads: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(a * load for a, load in zip(self.amounts, self.loads, strict=True))

    @property
    def varies(self) -> float:
        """The variance of what is taken, were there no end."""
        return sum(a * a * load for a, load in zip(self.amounts, self.loads, strict=True))

    @property
    def most(self) -> int:
        """More than any pool needs: no target is that small."""
        return ceil(self.mean + 20 * sqrt(self.varies) + 20 * max(self.amounts))

    def steps(self) -> "_Steps | None":
        """It in steps of one size. None: they would be too rough, so many machines there are."""
        step = max(gcd(*self.amounts), ceil(self.most / _STEPS))
        units = [ceil(a / step) for a in self.amounts]
        # What a size takes in all stays as it is; only by how much that varies becomes larger.
        loads = [
            load * a / (n * step)
            for n, a, load in zip(units, self.amounts, self.loads, strict=True)
        ]
        rough = sum((n * step) ** 2 * load for n, load in zip(units, loads, strict=True))
        if rough > _ROUGH * self.varies:
            return None
        return _Steps(step, tuple(Class(n, load) for n, load in zip(units, loads, strict=True)))

    def chances(self, total: int) -> list[float]:
        """How often one of each size finds no room in a pool of so much."""
        total = min(total, self.most)  # more makes no difference that anybody could see
        steps = self.steps()
        if steps is not None:
            return blocking(steps.classes, total // steps.step)
        one, load = self._alike()
        return self._of_each(erlang_b(int(total / one), load), one)

    def needed(self, target: float) -> int:
        """The smallest pool in which no size that comes is refused more often."""
        steps = self.steps()
        if steps is not None:
            units = units_for(steps.classes, target, ceil(self.most / steps.step))
            return self.most if units is None else units * steps.step
        one, load = self._alike()
        places, blocked, largest = 0, 1.0, max(self.amounts) / one
        while min(1.0, blocked * largest) > target:
            places += 1
            blocked = load * blocked / (places + load * blocked)
        return ceil(places * one)

    def _alike(self) -> tuple[float, float]:
        """Machines of one size that take as much in the mean, and vary as much: how large, and how many (Hayward)."""
        one = self.varies / self.mean
        return one, self.mean / one

    def _of_each(self, blocked: float, one: float) -> list[float]:
        """In a large pool about as often as a size is larger than that: so many of the last places must be free."""
        return [min(1.0, blocked * a / one) for a in self.amounts]


@dataclass(frozen=True, slots=True)
class _Steps:
    """What machines take is rounded up to steps, and a pool down."""

    step: int
    classes: tuple[Class, ...]


def chances(needs: Sequence[Need], loads: Sequence[float], total: Need) -> list[float]:
    """How often one of each size that comes finds no room in a pool of so much."""
    worst = [0.0] * len(needs)
    for name in DIMENSIONS if needs else ():
        blocked = _dimension(needs, loads, name).chances(getattr(total, name))
        worst = [max(a, b) for a, b in zip(worst, blocked, strict=True)]
    return worst


def needed(
    needs: Sequence[Need], loads: Sequence[Mapping[str, float]], target: float
) -> dict[str, int]:
    """Of each dimension the smallest amount with which no size that comes is refused more often. By dimension, its load."""
    found = dict.fromkeys(DIMENSIONS, 0)
    for name in DIMENSIONS:
        # Who never comes is refused nothing.
        here = [
            (need, load[name]) for need, load in zip(needs, loads, strict=True) if load[name] > 0
        ]
        if here:
            of = _dimension([need for need, _ in here], [load for _, load in here], name)
            found[name] = of.needed(target)
    return found


def _dimension(needs: Sequence[Need], loads: Sequence[float], name: str) -> _Dimension:
    return _Dimension(tuple(max(getattr(need, name), 1) for need in needs), tuple(loads))


def hosts_for(amounts: Mapping[str, int], total: Need, hosts: int) -> tuple[int, str] | None:
    """How many hosts of the size that these have in the mean, and which dimension asks for most. None: there are none."""
    asked: list[tuple[int, str]] = []
    for dimension in DIMENSIONS:
        have = getattr(total, dimension)
        if hosts < 1 or have < 1:
            return None
        asked.append((-(-amounts[dimension] * hosts // have), dimension))
    return max(asked, key=lambda each: each[0])
