"""How many elements a tier should have: by its load (a policy), and by the time of day (windows). Pure.

What a tier bears is told in elements: its load divided by what is right for one. Within a tenth of its count all is as
it should be, so a load that only swings leaves a tier alone. More than that is answered at once; less only when each
look has said so for `down_seconds`, and one element, or a tenth of them, at a time. What is not known decides nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from math import ceil


class Metric(StrEnum):
    """What is measured. The first three are of its balancers, the others of its machines."""

    REQUESTS = "requests-per-s"
    SESSIONS = "sessions"
    RESPONSE = "response-ms"
    CPU = "cpu-percent"
    MEMORY = "memory-percent"
    KBPS = "kbps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """So much for each element that serves is right."""

    metric: Metric
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """More than `above` for so long: so many elements more."""

    metric: Metric
    above: int
    seconds: int = 30
    add: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The largest number that any of these wants counts. Times, in seconds, are rests after going up and down."""

    targets: tuple[Target, ...] = ()
    steps: tuple[Step, ...] = ()
    up_seconds: int = 30
    down_seconds: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """At least so many elements on these days, from `begin` to `end` by the farm's clock; past midnight if `end` is not later.

    Days are 0 (Monday) to 6, those on which it begins. It begins `lead_seconds` early, so that they serve in time.
    """

    days: tuple[int, ...]
    begin: time
    end: time
    least: int
    lead_seconds: int = 120


@dataclass(frozen=True, slots=True)
class Bounds:
    """Within which a count stays, whatever its load."""

    least: int
    most: int

    def within(self, count: int) -> int:
        """The nearest count that is allowed."""
        return max(self.least, min(count, self.most))


@dataclass(frozen=True, slots=True)
class Load:
    """What a tier's elements bear together, and the mean of their response times. `at`: when the oldest figure was true."""

    at: datetime
    figures: Mapping[Metric, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a policy remembers from one look to the next.

    `fewer_since`: each look since then said that fewer would do. `up_at`: when it last asked for more. `above`: for each of
    its steps, since when there is more than that. `before`: how many there were when a window asked for more, of a tier
    without a policy.
    """

    fewer_since: datetime | None = None
    up_at: datetime | None = None
    above: tuple[datetime | None, ...] = ()
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """How many there should be, why (empty when that is what there is), and what to remember for the next look."""

    count: int
    why: str
    memory: Memory


_BAND = 0.1  # of a count: so much more or less is borne without a change
_MEANS = {Metric.RESPONSE}  # not sums: more elements do not share one


def decide(
    policy: Policy,
    bounds: Bounds,
    serving: int,
    count: int,
    load: Load | None,
    memory: Memory,
    at: datetime,
    stale_seconds: float = 30,
) -> Decision:
    """How many elements a tier of `count`, of which so many are `serving`, should have from now on."""
    allowed = bounds.within(count)
    if allowed != count:
        why = f"at least {bounds.least}" if allowed > count else f"at most {bounds.most}"
        return Decision(allowed, why, Memory(up_at=at if allowed > count else memory.up_at))
    if load is None or (at - load.at).total_seconds() > stale_seconds:
        return Decision(count, "", Memory(up_at=memory.up_at))
    borne = [_borne(each.metric, each.value, serving, load) for each in policy.targets]
    stepped = [_borne(each.metric, each.above, serving, load) for each in policy.steps]
    above = _above(stepped, serving, memory, at)
    memory = replace(memory, above=above)
    wanted, why = _more(policy, borne, above, count, at)
    resting = (
        memory.up_at is not None
        and serving < count
        and (_seconds(memory.up_at, at) < policy.up_seconds)
    )
    more = bounds.within(min(wanted, max(1, 2 * count)))
    if more > count and not resting:
        return Decision(more, why, Memory(up_at=at))
    return _fewer(policy, bounds, count, [*borne, *stepped], memory, at)


def hold(bounds: Bounds, count: int, memory: Memory) -> Decision:
    """How many a tier without a policy should have: as many as it had before a window asked for more, when that is over."""
    before = count if memory.before is None else memory.before
    now = bounds.within(before)
    remembered = Memory(before=None if now == before else before)
    if now == count:
        return Decision(count, "", remembered)
    why = "no window asks for more" if now < count else f"at least {bounds.least}"
    return Decision(now, why, remembered)


def top(policy: Policy, metric: Metric, count: int) -> float | None:
    """The most of it that so many elements bear before there may have to be more; `None` if the policy does not ask."""
    elements = 1 if metric in _MEANS else count
    tops = [each.value * elements * (1 + _BAND) for each in policy.targets if each.metric is metric]
    tops += [each.above * elements for each in policy.steps if each.metric is metric]
    return min(tops, default=None)


def _borne(metric: Metric, right: int, serving: int, load: Load) -> float | None:
    """How many elements that load is right for; `None` when that is not known."""
    figure = load.figures.get(metric)
    if figure is None or (metric in _MEANS and not serving):
        return None
    return figure * (serving if metric in _MEANS else 1) / right


def _above(
    stepped: Sequence[float | None], serving: int, memory: Memory, at: datetime
) -> tuple[datetime | None, ...]:
    """Since when each step's figure is above its mark; not known is not above."""
    before = memory.above if len(memory.above) == len(stepped) else (None,) * len(stepped)
    return tuple(
        (since or at) if each is not None and each > serving else None
        for each, since in zip(stepped, before, strict=True)
    )


def _more(
    policy: Policy,
    borne: Sequence[float | None],
    above: Sequence[datetime | None],
    count: int,
    at: datetime,
) -> tuple[int, str]:
    """The largest number above `count` that a target or a step wants, and why; `count` if none does."""
    wanted = [(count, "")]
    for target, each in zip(policy.targets, borne, strict=True):
        if each is not None and each > count * (1 + _BAND):
            wanted.append((ceil(each), f"{target.metric} for {each:.1f} elements"))
    for step, since in zip(policy.steps, above, strict=True):
        if since is not None and _seconds(since, at) >= step.seconds:
            told = f"{step.metric} above {step.above} for {step.seconds} s"
            wanted.append((count + step.add, told))
    return max(wanted, key=lambda each: each[0])


def _fewer(
    policy: Policy,
    bounds: Bounds,
    count: int,
    borne: Sequence[float | None],
    memory: Memory,
    at: datetime,
) -> Decision:
    """One step down if every look of long enough said that fewer would do."""
    known = [each for each in borne if each is not None]
    asked = max((ceil(each) for each in known), default=count)
    calm = len(known) == len(borne) and max(known, default=count) <= count * (1 - _BAND)
    if not calm or asked >= count:
        return Decision(count, "", replace(memory, fewer_since=None))
    since = memory.fewer_since or at
    memory = replace(memory, fewer_since=since)
    # No look asked for more than that: each was below the band, or else for one less at most.
    down = bounds.within(max(asked, count - max(1, int(count * _BAND))))
    if down >= count or _seconds(since, at) < policy.down_seconds:
        return Decision(count, "", memory)
    why = f"fewer were enough for {policy.down_seconds} s"
    return Decision(down, why, replace(memory, fewer_since=None))


def _seconds(since: datetime, at: datetime) -> float:
    return (at - since).total_seconds()


def least_now(windows: Sequence[Window], zone: tzinfo, at: datetime) -> int:
    """The most that a window which is open asks for; 0 if none is. A clock that is changed makes one longer, never shorter."""
    return max((each.least for each in windows if _is_open(each, zone, at)), default=0)


def _is_open(window: Window, zone: tzinfo, at: datetime) -> bool:
    lead = timedelta(seconds=window.lead_seconds)
    for day in _days(at.astimezone(zone).date(), lead):
        if day.weekday() not in window.days:
            continue
        over = day + timedelta(days=1) if window.end <= window.begin else day
        begins = min(_instants(day, window.begin, zone))
        if begins - lead <= at < max(_instants(over, window.end, zone)):
            return True
    return False


def _days(today: date, lead: timedelta) -> Iterator[date]:
    """On which a window that is open now may begin by its clock."""
    for number in range(-1, lead.days + 2):
        yield today + timedelta(days=number)


def _instants(day: date, clock: time, zone: tzinfo) -> tuple[datetime, datetime]:
    """When a clock shows this: twice the same, unless it is just then put forward or back."""
    shown = datetime.combine(day, clock, zone)
    return shown.astimezone(UTC), shown.replace(fold=1).astimezone(UTC)
