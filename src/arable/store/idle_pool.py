"""What came to zones' idle pools, was sent away and went: how it is noted, summed up, and read.

A machine holds room as long as it has a host. So it comes with a host, goes when it has none any more, and was refused
when it wanted one and none had room; a machine that another host starts or that moves neither comes nor goes. What counts
is its size: offerings change and go, and two of one size are one to the pool.

Whoever gives a machine a host or takes it away notes that in the same transaction, so a note is there if and only if it
happened. Notes are only added: a row for each hour that all count up would make all who deploy wait for each other. The
master sums them up soon (`fold`); each note is counted by whoever removes it, and removed once.

For each zone and size, `came` less `went` of all that is recorded is the number of machines that have a host, less those
that had one when the recording began.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Text, case, func, select, text, type_coerce

from arable.domain.host import HostState
from arable.domain.ids import ZoneId
from arable.store import schema as t
from arable.store.columns import micros, moment
from arable.store.database import Tx
from arable.store.rows import insert_rows, put_rows

KEPT = timedelta(days=366)
"""For so long hours are kept."""

HOUR = 3_600_000_000  # microseconds
_DAY = 24

_NOTED = ("at", "zone", "cpus", "cpu_mhz", "memory_mib", "came", "again", "refused", "went")
_HOUR = ("zone", "hour", *_NOTED[2:], "held_us")
_note, _hour = t.pool_note.c, t.pool_hour.c


class Sized(Protocol):
    """A machine's row: where it is to be, and how large it is."""

    @property
    def zone(self) -> ZoneId: ...
    @property
    def cpus(self) -> int: ...
    @property
    def cpu_mhz(self) -> int: ...
    @property
    def memory_mib(self) -> int: ...


class Shape(NamedTuple):
    """What machines of one size take. `cpu_mhz` is the whole machine's."""

    cpus: int
    cpu_mhz: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class DaySum:
    """What happened of one size in one day, counted back from now (`first_day` is the length of day 0).

    `held` are the seconds that those which came had room until the day's end, less those that who went missed of it.
    """

    back: int
    shape: Shape
    came: int
    again: int
    refused: int
    went: int
    held: float


def note(
    tx: Tx,
    at: datetime,
    *,
    came: Iterable[Sized] = (),
    again: Iterable[Sized] = (),
    refused: Iterable[Sized] = (),
    went: Iterable[Sized] = (),
) -> None:
    """Machines that got a host (`again`: anew, after one could not start them), found none, or have none any more."""
    counts: dict[tuple[ZoneId, int, int, int], list[int]] = {}
    for place, machines in enumerate((came, again, refused, went)):
        of = Counter((m.zone, m.cpus, m.cpu_mhz, m.memory_mib) for m in machines)
        for key, count in of.items():
            found = counts.setdefault(key, [0, 0, 0, 0])
            found[place] += count
            if place == 1:
                found[0] += count
    if counts:
        stamp = micros(at)
        insert_rows(tx, t.pool_note, _NOTED, [(stamp, *key, *n) for key, n in counts.items()])


_TAKE = text("""
    delete from pool_note where number in (select number from pool_note order by number limit :most)
    returning at, zone, cpus, cpu_mhz, memory_mib, came, again, refused, went
""")
_ADD = "(zone, hour, cpus, cpu_mhz, memory_mib) do update set " + ", ".join(
    f"{name} = pool_hour.{name} + excluded.{name}"
    for name in ("came", "again", "refused", "went", "held_us")
)


def fold(tx: Tx, most: int) -> int:
    """Sum up so many notes; how many there were."""
    notes = tx.execute(_TAKE, {"most": most}).all()
    sums: dict[tuple[object, ...], list[int]] = {}
    for at, zone, cpus, cpu_mhz, memory_mib, came, again, refused, went in notes:
        left = HOUR - at % HOUR
        found = sums.setdefault((zone, at // HOUR, cpus, cpu_mhz, memory_mib), [0] * 5)
        for place, more in enumerate((came, again, refused, went, (came - went) * left)):
            found[place] += more
    put_rows(tx, t.pool_hour, _HOUR, [(*key, *n) for key, n in sorted(sums.items())], _ADD)
    return len(notes)


def forget(tx: Tx, before: datetime) -> int:
    """Hours that ended before that go; how many."""
    old = t.pool_hour.delete().where(_hour.hour < micros(before) // HOUR)
    return max(tx.execute(old).rowcount, 0)


# --- what is known of a zone

# A day is 24 hours, counted back from the one that has begun. `held_us` is until the end of the hour: what came or went in
# it did so for the rest of its day as well, and for the last day only until now.
_DAYS = f"""
    select back, cpus, cpu_mhz, memory_mib, sum(came), sum(again), sum(refused), sum(went),
        sum(held_us + (came - went) * (
            case when back = 0 then :now else (:hour - back * {_DAY} + 1) * {HOUR} end - (hour + 1) * {HOUR}))
    from (
        select (:hour - hour) / {_DAY} as back, hour, cpus, cpu_mhz, memory_mib, came, again, refused, went, held_us
            from pool_hour where zone = :zone and hour > :oldest
        union all
        select (:hour - at / {HOUR}) / {_DAY}, at / {HOUR}, cpus, cpu_mhz, memory_mib, came, again, refused, went,
            (came - went) * ({HOUR} - at % {HOUR})
            from pool_note where zone = :zone and at / {HOUR} > :oldest
    ) as one group by back, cpus, cpu_mhz, memory_mib order by back, cpu_mhz, memory_mib, cpus
"""  # noqa: S608 - numbers of ours
_days = text(_DAYS)


def days(tx: Tx, zone: ZoneId, now: datetime, most: int) -> list[DaySum]:
    """The last so many days, those in which nothing happened left out."""
    stamp = micros(now)
    hour = stamp // HOUR
    given = {"zone": zone, "now": stamp, "hour": hour, "oldest": hour - most * _DAY}
    return [
        DaySum(
            int(back),
            Shape(int(cpus), int(mhz), int(memory)),
            int(came),
            int(again),
            int(refused),
            int(went),
            float(held) / 1e6,
        )
        for back, cpus, mhz, memory, came, again, refused, went, held in tx.execute(_days, given)
    ]


def first_day(now: datetime) -> float:
    """How many seconds of day 0 are over: it began with an hour, 23 hours before the one that it is."""
    return ((_DAY - 1) * HOUR + micros(now) % HOUR) / 1e6


def began(tx: Tx, zone: ZoneId) -> datetime | None:
    """Since when a zone's use is recorded; None: nothing ever happened."""
    first = tx.execute(select(func.min(_hour.hour)).where(_hour.zone == zone)).scalar()
    noted = tx.execute(select(func.min(_note.at)).where(_note.zone == zone)).scalar()
    found = [noted] if noted is not None else []
    if first is not None:
        found.append(moment(first * HOUR))
    return min(found, default=None)


@dataclass(frozen=True, slots=True)
class Room:
    """Hosts of a zone that take machines, or will when they are woken: how many, and of CPU (MHz) and memory (MiB) what
    can be reserved there, and what is.
    """

    hosts: int
    cpu_mhz: int
    memory_mib: int
    reserved_cpu_mhz: int
    reserved_memory_mib: int


def room(tx: Tx, zone: ZoneId, shapes: Sequence[Shape] = ()) -> tuple[Room, list[int]]:
    """What there is, and of each of these sizes how many machines would find room at once, were they alone to come."""
    h = t.host.c
    limits = (h.cpu_mhz * h.cpu_percent // 100, h.memory_mib * h.memory_percent // 100)
    free = (limits[0] - h.reserved_cpu_mhz, limits[1] - h.reserved_memory_mib)
    columns: list[ColumnElement[Any]] = [
        func.count(),
        *(func.sum(each) for each in (*limits, h.reserved_cpu_mhz, h.reserved_memory_mib)),
    ]
    for shape in shapes:
        by_cpu, by_memory = free[0] // max(shape.cpu_mhz, 1), free[1] // max(shape.memory_mib, 1)
        fewer = case((by_cpu < by_memory, by_cpu), else_=by_memory)
        columns.append(func.sum(case((fewer > 0, fewer), else_=0)))
    query = (
        select(*columns)
        .join(t.pod, t.pod.c.id == h.pod)
        .where(
            h.zone == zone,
            h.state.in_([HostState.UP, HostState.ASLEEP]),
            ~h.maintenance,
            ~h.awaited,
            t.pod.c.enabled,
            type_coerce(h.roles, Text).contains('"compute"'),
        )
    )
    found = [int(value or 0) for value in tx.execute(query).one()]
    return Room(*found[:5]), found[5:]


def names(tx: Tx) -> dict[Shape, list[str]]:
    """What machines of each size are called: the offerings that make them now."""
    o = t.offering.c
    found: dict[Shape, list[str]] = {}
    query = select(o.name, o.cpus, o.cpu_mhz, o.memory_mib).where(o.enabled).order_by(o.name)
    for name, cpus, mhz, memory in tx.execute(query):
        found.setdefault(Shape(cpus, cpus * mhz, memory), []).append(name)
    return found


def there(tx: Tx, zone: ZoneId) -> dict[Shape, int]:
    """How many machines of each size have a host now."""
    m = t.machine.c
    size = (m.cpus, m.cpu_mhz, m.memory_mib)
    query = select(*size, func.count()).where(m.zone == zone, m.host.is_not(None)).group_by(*size)
    return {Shape(cpus, mhz, memory): n for cpus, mhz, memory, n in tx.execute(query)}
