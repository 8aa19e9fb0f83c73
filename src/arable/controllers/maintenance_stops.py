"""Machines that can't leave a host in maintenance and are stopped for it; they start again when it is over.

Elements of farms get other machines instead, by their tiers. Who stops such a machine by hand means it so: then it is
forgotten here (`services/power.py`).
"""

from collections.abc import Sequence
from datetime import datetime

from arable.controllers import endings
from arable.domain.access import EVERYTHING
from arable.domain.ids import ElementId, MachineId, TierId
from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.domain.tier_acts import HOLDING
from arable.store import attention, drains, elements, tier_notes, tiers
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.drains import Left
from arable.store.nudges import nudge

_COLUMNS = ("state", "wish", "attention", "force", "tries", "why", "generation", "changed_at")


def stop(tx: Tx, staying: Sequence[Left], at: datetime) -> int:
    """Have these stopped, or replaced by their farms, as far as they run; how many that were."""
    run = [one for one in staying if _runs(one.state, one.wish)]
    if not run:
        return 0
    farms = drains.elements(tx, [one.id for one in run])
    done = _replace(tx, farms)
    asked = {one.id: one.host for one in run if one.id not in farms}
    held = attention.machines_by_id(tx, asked).values()
    # Nobody stops what somebody waits for: it is looked at again when that has ended.
    rows = [m for m in held if _runs(m.state, m.wish) and m.host == asked[m.id]]
    rows = [m for m in rows if m.operation is None and m.recovery is None]
    if rows:
        drains.stopped(tx, [(m.id, asked[m.id]) for m in rows])
        told = "is stopped while there is maintenance; it starts again when that is over"
        _turn(tx, rows, MachineEvent.STOP, told, at)
    return done + len(rows)


def start(tx: Tx, at: datetime) -> int:
    """Start again what was stopped for a maintenance that is over; how many that were."""
    over = drains.over(tx)
    if not over:
        return 0
    held = attention.machines_by_id(tx, over)
    stopping = {id_ for id_, m in held.items() if m.state == MachineState.STOPPING}
    drains.forget(tx, [id_ for id_ in over if id_ not in stopping])
    off = (MachineState.STOPPED, MachineWish.STOPPED)
    rows = [m for m in held.values() if (m.state, m.wish) == off]
    told = "starts again: the maintenance is over"
    _turn(tx, rows, MachineEvent.START, told, at)
    return len(rows)


def _runs(state: str, wish: str) -> bool:
    return state == MachineState.RUNNING and wish == MachineWish.RUNNING


def _turn(tx: Tx, rows: Sequence[MachineRow], event: MachineEvent, told: str, at: datetime) -> None:
    starts = event is MachineEvent.START
    wish = MachineWish.RUNNING if starts else MachineWish.STOPPED
    attention.change_machines(
        tx,
        _COLUMNS,
        [
            {
                "id": m.id,
                "state": MACHINE.next(MachineState(m.state), event),
                "wish": wish,
                "attention": True,
                "force": False,
                "tries": 0,
                "why": "{}",
                "generation": m.generation + 1,
                "changed_at": attention.stamp(at),
            }
            for m in rows
        ],
    )
    kind = "machine.starting" if starts else "machine.stopping"
    endings.tell(tx, [(m, kind, told) for m in rows], at)
    if rows:
        nudge(tx, "machines")


def _replace(tx: Tx, farms: dict[MachineId, tuple[TierId, ElementId]]) -> int:
    """Their tiers drain them and make other ones. By force: the operator has decided that this host is to be empty."""
    done = 0
    for machine, (tier_id, element_id) in sorted(farms.items(), key=lambda item: item[1]):
        tier = tiers.get(tx, EVERYTHING, tier_id, lock=True)
        element = elements.get(tx, EVERYTHING, element_id)  # rounds hold the tier as well
        if element.machine != machine or element.replaced or element.state not in HOLDING:
            continue
        after = element.changed(replaces=machine, by_force=True)
        elements.save_many(tx, [(after, element.generation)])
        elements.put_note(
            tx, tier.id, attention=True, again_at=None, tries=tier.tries, told=tier.told
        )
        done += 1
    if done:
        nudge(tx, tier_notes.TOPIC)
    return done
