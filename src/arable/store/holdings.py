"""Which segment holds which farm, as columns of the farm: given by the master, confirmed by the holder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, text

from arable.domain.ids import FarmId, SegmentId
from arable.domain.segment import Holding, SegmentState
from arable.store import schema
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.nudges import nudge

TOPIC = "farms"
"""Nudged when a farm needs a holder."""

_f, _s = schema.farm.c, schema.segment.c
_SELECT = select(_f.id, _f.holder, _f.load, _f.epoch, _f.confirmed)
_EVERY = _SELECT.order_by(_f.id)
_ORPHANS = (
    _SELECT.where(_f.holder.not_in(select(_s.id).where(_s.state == SegmentState.READY)))
    .order_by(_f.id)
    .limit(bindparam("limit"))
)
_HELD = select(func.count()).select_from(schema.farm).where(_f.holder == bindparam("by"))
_COUNTS = text(f"""
    select count(*),
      coalesce(sum(case when segment.id is null then 1 else 0 end), 0),
      coalesce(sum(case when segment.id is not null and farm.confirmed <> farm.epoch then 1 else 0 end), 0)
    from farm left join segment on segment.id = farm.holder and segment.state = '{SegmentState.READY}'
""")  # noqa: S608 - our own word
# Rows that somebody holds at this moment are left for the next time: whoever waits for many could wait in a ring.
_CONFIRM = """
    update farm set confirmed = epoch where id in (
      select id from farm where holder = :holder and confirmed <> epoch order by id {free}
    )
"""
_GIVE = text("""
    update farm set holder = :to, epoch = epoch + 1 where id = :farm and holder = :from
""")
_LOADS = """
    with busy as (
      select farm.id as id, count(machine.id) as count from farm
      left join machine on machine.farm = farm.id and machine.attention
      where farm.load <> 0 or machine.id is not null
      group by farm.id
    ), other as (
      select farm.id as id, busy.count as count from farm join busy on busy.id = farm.id
      where farm.load <> busy.count order by farm.id {free}
    )
    update farm set load = other.count from other where other.id = farm.id
"""
_FREE = {"sqlite": "", "postgresql": "for no key update {of} skip locked"}
_confirm = {name: text(_CONFIRM.format(free=free.format(of=""))) for name, free in _FREE.items()}
_loads = {name: text(_LOADS.format(free=free.format(of="of farm"))) for name, free in _FREE.items()}
# What a holder may do is decided with the farm's row held, so that nobody gives it away meanwhile. One that is being
# given away at this moment is not waited for.
_hold = Lookup(
    lambda among: (
        select(_f.id)
        .where(among(_f.id), _f.holder == bindparam("holder"), _f.confirmed == _f.epoch)
        .order_by(_f.id)
        .with_for_update(read=True, skip_locked=True)
    )
)
# The oldest work first, so that a farm with a flood of it keeps others waiting for one round at most. "Cross" says to
# SQLite that work comes before farms: by itself it goes through all machines of all farms.
_WANTING = """
    select {table}.farm from {table} cross join farm
    where {work} and farm.id = {table}.farm and farm.holder = :holder and farm.confirmed = farm.epoch
      and not exists (select 1 from farm_trouble where farm_trouble.farm = farm.id)
    order by {table}.{order} limit :limit
"""
_wanting = {
    "machines": text(_WANTING.format(table="machine", work="machine.attention", order="id")),
    "networks": text(_WANTING.format(table="network", work="network.attention", order="id")),
    "documents": text(_WANTING.format(table="farm_spec", work="farm_spec.attention", order="farm")),
    "destroyed": text(
        _WANTING.format(
            table="machine",
            work="machine.destroyed_at is not null and machine.destroyed_at < :before"
            " and machine.state = 'destroyed'",
            order="destroyed_at",
        )
    ),
}


def orphans(tx: Tx, limit: int) -> list[Holding]:
    """Farms whose holder is nobody, or not ready."""
    return [_holding(row) for row in tx.execute(_ORPHANS, {"limit": limit})]


def every(tx: Tx) -> list[Holding]:
    """All farms."""
    return [_holding(row) for row in tx.execute(_EVERY)]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many farms there are, how many nobody can act for, and how many are not confirmed."""

    total: int
    unheld: int
    unconfirmed: int


def counts(tx: Tx) -> Counts:
    """Of all farms."""
    return Counts(*tx.execute(_COUNTS).one())


def give(tx: Tx, moves: Sequence[tuple[FarmId, SegmentId, SegmentId]]) -> int:
    """Farms with whom they are taken from and who gets them; how many did. Each has to be confirmed."""
    if not moves:
        return 0
    rows = [{"farm": farm, "from": from_, "to": to} for farm, from_, to in sorted(moves)]
    done = max(tx.execute(_GIVE, rows).rowcount, 0)
    if done:  # their holders may begin at once
        nudge(tx, TOPIC)
    return done


def hold(tx: Tx, holder: SegmentId, farms: Iterable[FarmId]) -> list[FarmId]:
    """Those of these farms that it holds and knows of, which stays so until the end of this transaction."""
    return [FarmId(row[0]) for row in _hold.rows(tx, farms, holder=holder)]


def wanting_machines(tx: Tx, holder: SegmentId, limit: int) -> list[FarmId]:
    """Its farms with the machines that want attention, those whose work fails left out."""
    return _farms(tx, "machines", holder=holder, limit=limit)


def wanting_networks(tx: Tx, holder: SegmentId, limit: int) -> list[FarmId]:
    """The same for networks that changed."""
    return _farms(tx, "networks", holder=holder, limit=limit)


def wanting_documents(tx: Tx, holder: SegmentId, limit: int) -> list[FarmId]:
    """The same for farms that are not yet as their documents say."""
    return _farms(tx, "documents", holder=holder, limit=limit)


def wanting_expunging(tx: Tx, holder: SegmentId, before: datetime, limit: int) -> list[FarmId]:
    """The same for machines that were destroyed before that."""
    return _farms(tx, "destroyed", holder=holder, before=micros(before), limit=limit)


def _farms(tx: Tx, work: str, **values: Any) -> list[FarmId]:
    return list(dict.fromkeys(tx.execute(_wanting[work], values).scalars()))


def count(tx: Tx, holder: SegmentId) -> int:
    """How many farms it holds."""
    return int(tx.execute(_HELD, {"by": holder}).scalar_one())


def confirm(tx: Tx, holder: SegmentId) -> int:
    """It knows of all its farms; how many were new to it."""
    return max(tx.execute(_confirm[tx.dialect.name], {"holder": holder}).rowcount, 0)


def weigh(tx: Tx) -> None:
    """Count anew what farms have to do."""
    tx.execute(_loads[tx.dialect.name])


def wanting(tx: Tx) -> None:
    """A farm needs a holder: the master should look once this is durable."""
    nudge(tx, TOPIC)


def _holding(row: Any) -> Holding:
    return Holding(
        FarmId(row.id), SegmentId(row.holder), row.load, confirmed=row.epoch == row.confirmed
    )
