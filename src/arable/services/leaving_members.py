"""Members of balancers are drained before they go, and machines before they stop: nobody new, and those who are there are let end.

`controllers/leaving_members` goes on from here. Whatever else is asked meanwhile takes the place of what waits.
"""

from datetime import timedelta

from arable.domain.balancer import Calm
from arable.domain.errors import Conflict
from arable.domain.ids import AccountId, BalancerId, MachineId, OperationId
from arable.domain.machine import Machine, MachineState, MachineWish
from arable.domain.operation import Operation
from arable.domain.settings import FARM_DRAIN_SECONDS
from arable.services.asks import NETWORKS, begin, tell
from arable.services.call import Call
from arable.store import balancers, member_drains, networks, operations, settings
from arable.store.member_drains import MemberDrain
from arable.store.nudges import nudge


def removing(
    call: Call, account: AccountId, balancer: BalancerId, machine: MachineId, seconds: int | None
) -> Operation | None:
    """The operation that waits for the end of what a member is at; None where there is nothing to wait for."""
    place = [each for each in member_drains.places(call.tx, [machine]).get(machine, []) if each.balancer == balancer]  # fmt: skip
    if seconds == 0 or not any(each.runs for each in place):
        return None
    return _wait(call, "balancer.update", balancer, account, machine, balancer, seconds)


def stopping(call: Call, machine: Machine, seconds: int | None) -> Operation | None:
    """The operation by which a machine stops once nobody is at it; None where nobody is led to it."""
    runs = (machine.state, machine.wish) == (MachineState.RUNNING, MachineWish.RUNNING)
    places = member_drains.places(call.tx, [machine.id]).get(machine.id, [])
    if seconds == 0 or not runs or not any(each.runs for each in places):
        return None
    # Held in this order everywhere: a machine, then networks.
    networks.by_ids(call.tx, sorted({each.network for each in places}), lock=True)
    member_drains.pause(call.tx, machine.id, paused=True)
    made = _wait(call, "machine.stop", machine.id, machine.account, machine.id, None, seconds)
    tell(call, machine.account, "machine.draining", machine.id, f"{machine.name}: drained, then stopped")  # fmt: skip
    return made


def stop_under_way(call: Call, machine: MachineId) -> OperationId | None:
    """The operation by which it is drained to be stopped."""
    every = member_drains.of_machine(call.tx, machine)
    return next((one.operation for one in every if one.balancer is None), None)


def superseded(call: Call, machine: Machine, why: str, *, resumes: bool) -> None:
    """It is not to be stopped when it is drained: something else was asked for. `resumes`: its balancers lead to it again."""
    if resumes and member_drains.pause(call.tx, machine.id, paused=False):
        nudge(call.tx, NETWORKS)
    _forget(
        call, [o for o in member_drains.of_machine(call.tx, machine.id) if o.balancer is None], why
    )


def changed(call: Call, balancer: BalancerId, machine: MachineId, why: str) -> None:
    """A member was changed that was to go: nobody waits for that any more."""
    every = member_drains.of_machine(call.tx, machine)
    _forget(call, [one for one in every if one.balancer == balancer], why)


def _wait(
    call: Call,
    kind: str,
    target: str,
    account: AccountId,
    machine: MachineId,
    balancer: BalancerId | None,
    seconds: int | None,
) -> Operation:
    span = settings.get(call.tx, FARM_DRAIN_SECONDS) if seconds is None else seconds
    now = call.around.clock.now()
    result = {"balancer": balancer} if balancer else None
    operation = begin(call, kind, target, account, done=False, result=result)
    drain = MemberDrain(
        operation=operation.id,
        machine=machine,
        balancer=balancer,
        since=now,
        until=now + timedelta(seconds=span),
    )
    member_drains.add(call.tx, drain)
    for place in member_drains.places(call.tx, [machine])[machine]:
        if balancer in (None, place.balancer):
            balancers.set_calm(call.tx, place.balancer, Calm())
    nudge(call.tx, NETWORKS)
    nudge(call.tx, balancers.TOPIC)
    return operation


def _forget(call: Call, drains: list[MemberDrain], why: str) -> None:
    if not drains:
        return
    now = call.around.clock.now()
    for one in drains:
        operations.fail(call.tx, one.operation, now, Conflict(f"superseded: {why}"))
    member_drains.drop(call.tx, [one.operation for one in drains])
