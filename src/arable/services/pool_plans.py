"""How large a zone's idle pool should be: read from the store, reckoned by `placement.pool_plan`, told in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from arable.domain.access import Permission
from arable.domain.ids import ZoneId
from arable.placement import pool_plan
from arable.placement.pool_plan import (
    DAY,
    DIMENSIONS,
    LEAST_WEEKS,
    WEEKS,
    WINDOW,
    Day,
    Forecast,
    Measured,
    Need,
    Record,
    Span,
)
from arable.services.call import Call
from arable.store import idle_pool, zones
from arable.store.idle_pool import Room, Shape
from arable.wire.pool_plans import (
    ForecastOut,
    PoolPlanOut,
    PoolPlanQuery,
    PoolRoomOut,
    PoolShapeOut,
)

_CALLED = {"cpu_mhz": "CPU", "memory_mib": "memory"}


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a zone."""

    room: Room
    shapes: Sequence[Shape]
    fits: Sequence[int]
    records: Sequence[Record]
    measured: Sequence[Measured]
    span: Span
    since: datetime | None


def plan(call: Call, zone: ZoneId, query: PoolPlanQuery) -> PoolPlanOut:
    """The plan of one zone's pool."""
    call.caller.needs(Permission.INFRA_READ)
    found = zones.get(call.tx, zone)
    now = call.around.clock.now()
    known = _known(call, zone, now)
    needs = [each.need for each in known.measured]
    loads = [each.load for each in known.measured]
    total = Need(known.room.cpu_mhz, known.room.memory_mib)
    ahead = {
        each: seen
        for each in DIMENSIONS
        if (seen := pool_plan.forecast(known.records, known.span, each, query.days)) is not None
    }
    chances = pool_plan.chances(needs, loads, total)
    needed = pool_plan.needed(
        needs, [dict.fromkeys(DIMENSIONS, load) for load in loads], query.target
    )
    then = _then(loads, ahead)
    needed_then = pool_plan.needed(needs, then, query.target) if ahead else None
    largest = {
        each: max(needed[each], needed_then[each] if needed_then else 0) for each in DIMENSIONS
    }
    hosts = pool_plan.hosts_for(largest, total, known.room.hosts)
    names = idle_pool.names(call.tx)
    made = PoolPlanOut(
        zone=zone,
        zone_name=found.name,
        at=now,
        target=query.target,
        days=query.days,
        recorded_since=known.since,
        hosts=known.room.hosts,
        machines=sum(each.there for each in known.measured),
        cpu_mhz=_room(known, "cpu_mhz", needed, needed_then),
        memory_mib=_room(known, "memory_mib", needed, needed_then),
        shapes=[
            PoolShapeOut(
                offerings=names.get(shape, []),
                cpus=shape.cpus,
                cpu_mhz=shape.cpu_mhz,
                memory_mib=shape.memory_mib,
                machines=one.there,
                fits=fits,
                arrivals=one.arrivals,
                refused=one.refused,
                arrivals_per_day=round(one.per_day, 3),
                stay_seconds=None if one.stay is None else round(one.stay, 1),
                load=round(one.load, 3),
                chance=round(chance, 6),
            )
            for shape, one, fits, chance in zip(
                known.shapes, known.measured, known.fits, chances, strict=True
            )
        ],
        chance=round(_of_all(known.measured, chances), 6),
        forecast=[
            ForecastOut(
                dimension=each,  # type: ignore[arg-type]  # its names are the fields'
                weeks=seen.weeks,
                low=round(seen.low, 3),
                expected=round(seen.expected, 3),
                high=round(seen.high, 3),
            )
            for each, seen in ahead.items()
        ],
        chance_then=_chance_then(known.measured, needs, then, total) if ahead else None,
        hosts_needed=hosts[0] if hosts else None,
        decides=hosts[1] if hosts and hosts[0] else None,  # type: ignore[arg-type]
        add=max(0, hosts[0] - known.room.hosts) if hosts else 0,
        spare=max(0, known.room.hosts - hosts[0]) if hosts else 0,
        told=[],
    )
    return _with_words(made, known)


def _known(call: Call, zone: ZoneId, now: datetime) -> _Known:
    tx = call.tx
    there = idle_pool.there(tx, zone)
    since = idle_pool.began(tx, zone)
    days: dict[Shape, dict[int, Day]] = {shape: {} for shape in there}
    for each in idle_pool.days(tx, zone, now, WEEKS * WINDOW):
        day = Day(each.came, each.again, each.refused, each.went, each.held)
        days.setdefault(each.shape, {})[each.back] = day
    shapes = sorted(days, key=lambda shape: (shape.cpu_mhz, shape.memory_mib, shape.cpus))
    room, fits = idle_pool.room(tx, zone, shapes)
    whole = (now - since).total_seconds() if since else 0.0
    span = Span(idle_pool.first_day(now), max(whole, 0.0))
    records = [
        Record(Need(shape.cpu_mhz, shape.memory_mib), there.get(shape, 0), days[shape])
        for shape in shapes
    ]
    measured = [pool_plan.measure(record, span) for record in records]
    return _Known(room, shapes, fits, records, measured, span, since)


def _then(loads: Sequence[float], ahead: Mapping[str, Forecast]) -> list[dict[str, float]]:
    """For each size its load at the upper end of the forecast, by dimension."""
    times = {each: ahead[each].high if each in ahead else 1.0 for each in DIMENSIONS}
    return [{each: load * times[each] for each in DIMENSIONS} for load in loads]


def _chance_then(
    measured: Sequence[Measured],
    needs: Sequence[Need],
    loads: Sequence[Mapping[str, float]],
    total: Need,
) -> float:
    """By the larger load of both dimensions."""
    most = [max(each.values()) for each in loads]
    return round(_of_all(measured, pool_plan.chances(needs, most, total)), 6)


def _of_all(measured: Sequence[Measured], chances: Sequence[float]) -> float:
    """By how often each comes; where none came lately, by how many of each there would be."""
    rates = [each.per_day for each in measured]
    if not any(rates):
        rates = [each.load for each in measured]
    whole = sum(rates)
    return sum(r * c for r, c in zip(rates, chances, strict=True)) / whole if whole else 0.0


def _room(
    known: _Known, dimension: str, needed: Mapping[str, int], then: Mapping[str, int] | None
) -> PoolRoomOut:
    total, used = getattr(known.room, dimension), getattr(known.room, f"reserved_{dimension}")
    load = sum(each.load * getattr(each.need, dimension) for each in known.measured)
    return PoolRoomOut(
        total=total,
        used=used,
        free=max(0, total - used),
        load=round(load, 1),
        needed=needed[dimension],
        needed_then=then[dimension] if then else None,
    )


# --- in words


def _with_words(made: PoolPlanOut, known: _Known) -> PoolPlanOut:
    made.told.extend(_words(made, known))
    return made


def _words(made: PoolPlanOut, known: _Known) -> list[str]:
    told = []
    days = known.span.whole / DAY
    if known.since is None:
        return ["nothing is known: no machine has come yet since this is recorded"]
    if not made.hosts:
        told.append("no host takes machines now")
    elif made.add:
        told.append(
            f"add {_hosts(made.add)}: {_needed(made.hosts_needed)}, {_CALLED[made.decides or 'cpu_mhz']} decides"
        )
    else:
        told.append(f"{_hosts(made.spare)} could be spared: {_needed(made.hosts_needed)}")
    if made.forecast:
        told.extend(
            (
                f"in {made.days} days {_CALLED[each.dimension]} is used {each.expected:.2f} times as much as in the last week"
                f" ({each.low:.2f} to {each.high:.2f})"
            )
            for each in made.forecast
        )
    elif days < LEAST_WEEKS * WINDOW:
        told.append(
            f"{days:.1f} days are recorded; a forecast takes {LEAST_WEEKS * WINDOW}, so the load of today is all that counts"
        )
    else:
        told.append("in the last week there was nothing, of which a forecast could be made")
    if days < WINDOW:
        told.append(f"the load is that of {days:.1f} days, and may be chance")
    tight = [one for one in made.shapes if not one.fits and one.arrivals]
    for one in tight:
        called = "/".join(one.offerings) or f"{one.cpus} CPUs, {one.memory_mib} MiB"
        told.append(f"no host has room for one of {called} now")
    return told


def _needed(count: int | None) -> str:
    return "1 is needed" if count == 1 else f"{count} are needed"


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"
