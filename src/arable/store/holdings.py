"""Which segment holds which farm, as columns of the farm: given by the master, confirmed by the holder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, text

from arable.domain.errors import Conflict
from arable.domain.ids import FarmId, SegmentId
from arable.domain.segment import Holding, SegmentState
from arable.store import schema
from arable.store.database import Tx
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
_COUNTS = text(f"""
    select count(*),
      coalesce(sum(case when segment.id is null then 1 else 0 end), 0),
      coalesce(sum(case when segment.id is not null and farm.confirmed <> farm.epoch then 1 else 0 end), 0)
    from farm left join segment on segment.id = farm.holder and segment.state = '{SegmentState.READY}'
""")  # noqa: S608 - our own word
_CONFIRM = text("""
    update farm set confirmed = epoch where holder = :holder and confirmed <> epoch
""")
_GIVE = text("""
    update farm set holder = :to, epoch = epoch + 1 where id = :farm and holder = :from
""")
_LOADS = text("""
    update farm set load = busy.count from (
      select farm.id as id, count(machine.id) as count from farm
      left join machine on machine.farm = farm.id and machine.attention
      where farm.load <> 0 or machine.id is not null
      group by farm.id
    ) as busy where busy.id = farm.id and farm.load <> busy.count
""")


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
    done = tx.execute(_GIVE, rows)
    return max(done.rowcount, 0)


def demand(tx: Tx, farm: FarmId, holder: SegmentId, epoch: int) -> None:
    """Raises `Conflict` unless it holds the farm with this epoch, and keeps it so until the end of this transaction."""
    query = select(_f.holder, _f.epoch).where(_f.id == farm).with_for_update(read=True)
    row = tx.execute(query).first()
    if row is None or (row[0], row[1]) != (holder, epoch):
        raise Conflict(f"{farm} is no longer held", detail=f"{holder} had epoch {epoch}")


def held(tx: Tx, holder: SegmentId) -> dict[FarmId, int]:
    """The farms that it knows it holds, with their epochs."""
    query = select(_f.id, _f.epoch).where(_f.holder == holder, _f.confirmed == _f.epoch)
    return {FarmId(id_): epoch for id_, epoch in tx.execute(query)}


def confirm(tx: Tx, holder: SegmentId) -> int:
    """It knows of all its farms; how many were new to it."""
    return max(tx.execute(_CONFIRM, {"holder": holder}).rowcount, 0)


def weigh(tx: Tx) -> None:
    """Count anew what farms have to do."""
    tx.execute(_LOADS)


def wanting(tx: Tx) -> None:
    """A farm needs a holder: the master should look once this is durable."""
    nudge(tx, TOPIC)


def _holding(row: Any) -> Holding:
    return Holding(
        FarmId(row.id), SegmentId(row.holder), row.load, confirmed=row.epoch == row.confirmed
    )
