"""Members that somebody removes, and members whose machines are to stop, go when nobody is at them any more.

Nobody new is led to them from the moment they were asked to go (`services/leaving_members.py`). How many are still there is
told by their routers, of which these are watched meanwhile. What is not over in the time that was given is not waited for.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from arable.controllers import endings
from arable.domain.balancer import BalancerSeen
from arable.domain.errors import Conflict
from arable.domain.ids import BalancerId, MachineId
from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.store import attention, balancers, incarnations, member_drains, operations
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.member_drains import MemberDrain, Place
from arable.store.nudges import nudge

SECONDS = 2
MOST = 200
_COLUMNS = ("state", "wish", "attention", "force", "operation", "generation", "changed_at")
_Seen = Mapping[BalancerId, tuple[datetime, BalancerSeen]]


def attend(tx: Tx, at: datetime) -> int:
    """One look at all of them; how many are waited for no longer."""
    found = member_drains.every(tx, MOST)
    if not found or incarnations.taking_stock(tx):
        return 0
    machines = attention.machines_by_id(tx, {one.machine for one in found})
    places = member_drains.places(tx, machines)
    seen = balancers.seen(tx, {each.balancer for of in places.values() for each in of})
    over: list[MemberDrain] = []
    for one in found:
        mine = _of(one, places)
        row = machines.get(one.machine)
        if one.balancer is None and not (row and _runs(row)):
            _stopped_otherwise(tx, one, row, at)
            over.append(one)
            continue
        left = [_left(each, one.since, seen) for each in mine]
        if any(count is None or count for count in left) and at < one.until:
            _tell(tx, one, left, at)
            continue
        cut = sum(count or 0 for count in left)
        if one.balancer is None and row is not None:
            _stop(tx, one, row, cut, at)
        else:
            _remove(tx, one, mine, row, cut, at)
        over.append(one)
    end(tx, over)
    return len(over)


def end(tx: Tx, drains: Iterable[MemberDrain]) -> None:
    """These are waited for no longer, so their balancers are watched for others alone."""
    gone = list(drains)
    if not gone:
        return
    member_drains.drop(tx, [one.operation for one in gone])
    places = member_drains.places(tx, {one.machine for one in gone})
    of = {each.balancer for one in gone for each in _of(one, places)}
    of |= {one.balancer for one in gone if one.balancer}
    for id_ in sorted(of - member_drains.watched(tx, of)):
        balancers.set_calm(tx, id_, None)
    nudge(tx, "networks")


def _of(one: MemberDrain, places: Mapping[MachineId, Sequence[Place]]) -> list[Place]:
    return [each for each in places.get(one.machine, ()) if one.balancer in (None, each.balancer)]


def _runs(row: MachineRow) -> bool:
    return (row.state, row.wish) == (MachineState.RUNNING, MachineWish.RUNNING)


def _left(place: Place, since: datetime, seen: _Seen) -> int | None:
    """How many are at it; None: not known yet. Where no router runs nobody is led anywhere."""
    if not place.runs:
        return 0
    told_at, told = seen.get(place.balancer, (since, None))
    if told is None or told_at < since:
        return None
    found = next((each for each in told.members if each.nic == place.nic), None)
    if found is None:
        return None  # the router has not heard of it, or has just forgotten it
    return found.sessions if found.weight == 0 else max(found.sessions, 1)


def _tell(tx: Tx, one: MemberDrain, left: Sequence[int | None], at: datetime) -> None:
    known = [count for count in left if count is not None]
    if len(known) < len(left):
        return
    told = f"waits for {_connections(sum(known))} to end"
    if told != one.told:
        member_drains.note(tx, one.operation, told)
        operations.advance(tx, one.operation, told, at)


def _remove(
    tx: Tx, one: MemberDrain, mine: Sequence[Place], row: MachineRow | None, cut: int, at: datetime
) -> None:
    for place in mine:
        balancers.drop_members(tx, place.balancer, [place.nic])
    member_drains.tell(tx, {place.balancer for place in mine})
    if cut:
        operations.advance(
            tx, one.operation, f"{_connections(cut)} left: let end by themselves", at
        )
    if row is not None and mine:
        endings.tell(tx, [(row, "balancer.left", "left a balancer")], at)
    operations.finish(tx, one.operation, at)


def _stop(tx: Tx, one: MemberDrain, row: MachineRow, cut: int, at: datetime) -> None:
    """Its operation is the machine's from now on, and ends when its host has said that it is off."""
    if cut:
        operations.advance(tx, one.operation, f"cut off: {_connections(cut)}", at)
    if row.operation is not None:
        error = Conflict("superseded: the machine is stopped, as was asked before")
        endings.settle(tx, [(row.operation, error)], at)
    changed = {
        "id": row.id,
        "state": MACHINE.next(MachineState.RUNNING, MachineEvent.STOP),
        "wish": MachineWish.STOPPED,
        "attention": row.host is not None,
        "force": False,
        "operation": one.operation,
        "generation": row.generation + 1,
        "changed_at": attention.stamp(at),
    }
    attention.change_machines(tx, _COLUMNS, [changed])
    endings.tell(tx, [(row, "machine.stopping", "nobody is at it any more; it stops")], at)
    nudge(tx, "machines")


def _stopped_otherwise(tx: Tx, one: MemberDrain, row: MachineRow | None, at: datetime) -> None:
    """It was lost, or somebody else had it stopped meanwhile."""
    if row is not None and row.state == MachineState.STOPPED:
        operations.finish(tx, one.operation, at)
        return
    if row is not None and row.wish == MachineWish.RUNNING:
        member_drains.pause(tx, one.machine, paused=False)
    told = "the machine did not go on running until it could be stopped; ask again"
    operations.fail(tx, one.operation, at, Conflict(told))


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"
