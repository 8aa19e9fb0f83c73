"""Hosts in maintenance are emptied: their machines that can move while they run do, in one operation that shows it.

What can't is stopped where the operator said so (`maintenance_stops.py`), and stays otherwise.

How many go at a time is `turns.py`'s. A machine that found no host, or could not be moved, is tried again after a
while; one that can never leave stays, is named, and keeps nobody waiting. Out of maintenance, nobody else sets out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from arable.controllers import maintenance_stops
from arable.domain.alert import derived
from arable.domain.errors import Conflict
from arable.domain.event import Event
from arable.domain.ids import AccountId, HostId, OperationId, UserId
from arable.domain.machine import MachineState, MachineWish
from arable.domain.move import MoveStage, MoveWhy, immovable
from arable.domain.operation import Operation, Step
from arable.store import attention, drains, events, incarnations, moves, operations
from arable.store.database import Tx
from arable.store.drains import KIND, Drain, Left
from arable.store.nudges import nudge

SECONDS = 2
AGAIN = timedelta(seconds=30)
"""Before one that could not leave is tried again; after each failure in a row, twice as long."""
_LONGEST = timedelta(minutes=15)
_NAMED = 5  # machines in one step


def watch(tx: Tx, at: datetime) -> int:
    """One round; how many machines were asked to leave."""
    if incarnations.taking_stock(tx):
        return 0
    running, hosts = drains.running(tx), drains.hosts(tx)
    asked = maintenance_stops.start(tx, at)
    if not running and not hosts:
        return asked
    moves.cancel(tx, drains.waiting(tx, hosts))
    _end(tx, [drain for host, drain in running.items() if host not in hosts], at)
    there = drains.left(tx, hosts)
    moved = 0
    for host, (name, stops) in sorted(hosts.items()):
        able = [one for one in there.get(host, ()) if may_leave(one)]
        stay = [one for one in there.get(host, ()) if not may_leave(one)]
        ends = [one for one in stay if stops and one.ends()]
        stay = [one for one in stay if one not in ends]
        drain = running.get(host)
        if drain is None and not able and not ends:
            continue
        if drain is None:
            drain = _begin(tx, host, name, [*able, *ends], at)
        _show(tx, name, drain, [*able, *ends], stay, at)
        moved += _ask(tx, able, at)
        asked += maintenance_stops.stop(tx, ends, at)
    if moved:
        nudge(tx, moves.TOPIC)
    return asked + moved


def may_leave(one: Left) -> bool:
    """Whether it can, or will as soon as it runs."""
    going = one.state in (MachineState.RUNNING, MachineState.STARTING)
    return going and one.wish == MachineWish.RUNNING and not immovable(one.stores)


def _ask(tx: Tx, able: Sequence[Left], at: datetime) -> int:
    """Those that run, and are not on their way, and did not just fail."""
    wanted = []
    for one in able:
        if one.state != MachineState.RUNNING or (one.move and not _over(one, at)):
            continue
        wanted.append(
            moves.begun(
                machine=one.id,
                source=one.host,
                why=MoveWhy.MAINTENANCE,
                at=at,
                before=one.move,
            )
        )
    if wanted:
        # Nobody else begins one for these meanwhile.
        held = attention.machines_by_id(tx, [one.id for one in wanted])
        now = moves.of(tx, held)
        wanted = [
            one
            for one in wanted
            if one.id in held
            and held[one.id].host == one.source
            and (one.id not in now or now[one.id].stage == MoveStage.OVER)
        ]
        moves.put(tx, wanted)
    return len(wanted)


def _over(one: Left, at: datetime) -> bool:
    """Whether its last move is over, and if it failed here, long enough."""
    assert one.move is not None
    if one.move.stage != MoveStage.OVER:
        return False
    if one.move.source != one.host or one.move.cancelled:
        return True
    pause = min(AGAIN * 2 ** min(one.move.tries, 10), _LONGEST)
    return attention.stamp(at - pause) >= one.move.changed_at


def _begin(tx: Tx, host: HostId, name: str, able: Sequence[Left], at: datetime) -> Drain:
    id_ = OperationId(derived("operation", at, KIND, host))
    text = f"{name} is in maintenance: {len(able)} machines are to leave it"
    operations.add(
        tx,
        Operation(
            id=id_,
            account=AccountId(""),  # nobody's: only operators see it
            user=UserId(""),
            kind=KIND,
            target=host,
            total=len(able),
            pending=len(able),
            steps=(Step(at, text),),
            created_at=at,
            changed_at=at,
        ),
    )
    events.add_many(tx, [Event(at=at, account=None, kind="host.draining", subject=host, text=text)])
    return Drain(id_, len(able), len(able))


def _show(
    tx: Tx, name: str, drain: Drain, able: Sequence[Left], stay: Sequence[Left], at: datetime
) -> None:
    if len(able) > drain.pending:
        drains.more(tx, drain.operation, len(able) - drain.pending)
    elif len(able) < drain.pending:
        told = f"{len(able)} left" if able else _ended(name, stay)
        operations.advance(tx, drain.operation, told, at)
        gone = drain.pending - len(able)
        operations.settle_many(tx, {drain.operation: (gone, None)}, at)


def _ended(name: str, stay: Sequence[Left]) -> str:
    if not stay:
        return f"{name} is empty"
    reasons = Counter(why_stays(one) for one in stay)
    told = ", ".join(f"{count} because {why}" for why, count in sorted(reasons.items()))
    named = ", ".join(one.name for one in stay[:_NAMED]) + (", …" if len(stay) > _NAMED else "")
    return f"all that can leave {name} have left; {len(stay)} stay ({named}): {told}"


def why_stays(one: Left) -> str:
    """Of a machine that can't leave."""
    return immovable(one.stores) or f"it is {one.state}"


def _end(tx: Tx, ended: Sequence[Drain], at: datetime) -> None:
    """Out of maintenance, or not there any more: what is on its way arrives, and that is all."""
    error = Conflict("the host is not in maintenance any more, or does not work")
    done: Mapping[OperationId, tuple[int, Conflict]] = {
        each.operation: (each.pending, error) for each in ended
    }
    operations.settle_many(tx, done, at)
