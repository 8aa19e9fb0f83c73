"""Destroyed machines that nobody recovered in time: their disks are erased and their rows go."""

from datetime import datetime, timedelta

from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.domain.settings import EXPUNGE_SECONDS
from arable.store import attention, settings
from arable.store.database import Tx
from arable.store.nudges import nudge

MOST = 500


def collect(tx: Tx, at: datetime) -> int:
    """One round; how many machines' time was over."""
    over = at - timedelta(seconds=settings.get(tx, EXPUNGE_SECONDS))
    rows = attention.machines_by_id(tx, attention.destroyed_before(tx, over, MOST))
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
