"""Destroyed machines that nobody recovered in time: their disks are erased and their rows go."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from arable.domain.ids import FarmId, SegmentId
from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.domain.settings import EXPUNGE_SECONDS
from arable.store import attention, holdings, settings
from arable.store.database import Tx
from arable.store.nudges import nudge

MOST = 500


def wanting(tx: Tx, holder: SegmentId, at: datetime) -> Sequence[FarmId]:
    """Its farms with machines whose time is over."""
    return holdings.wanting_expunging(tx, holder, _over(tx, at), MOST)


def collect(tx: Tx, at: datetime, farms: Iterable[FarmId] | None = None) -> int:
    """One round, for these farms or for all; how many machines' time was over."""
    late = attention.destroyed_before(tx, _over(tx, at), MOST, farms)
    rows = attention.machines_by_id(tx, late)
    attention.change_machines(
        tx,
        ("state", "wish", "attention", "generation", "changed_at"),
        [
            {
                "id": row.id,
                "state": MACHINE.next(MachineState(row.state), MachineEvent.EXPUNGE),
                "wish": MachineWish.GONE,
                "attention": True,
                "generation": row.generation + 1,
                "changed_at": attention.stamp(at),
            }
            for row in rows.values()
        ],
    )
    if rows:
        nudge(tx, "machines")
    return len(rows)


def _over(tx: Tx, at: datetime) -> datetime:
    return at - timedelta(seconds=settings.get(tx, EXPUNGE_SECONDS))
