"""Having a machine move to another host while it runs: an operator's business, of which its owner notices nothing.

What is asked here is a wish; `controllers/moving.py` carries it out. What can be known to be impossible is refused at
once, and for what changes all the time (room, hosts that are up) the operation says why.
"""

from arable.domain.access import Permission
from arable.domain.errors import Conflict
from arable.domain.host import Host
from arable.domain.ids import AccountId, MachineId
from arable.domain.machine import Machine, MachineState, MachineWish
from arable.domain.move import MoveStage, MoveWhy, immovable
from arable.domain.operation import Operation
from arable.services import hosts as host_asks
from arable.services.asks import begin, check_expected
from arable.services.call import Call
from arable.services.operations import shown
from arable.store import attention, hosts, machines, moves, operations
from arable.store.moves import MoveRow
from arable.store.nudges import nudge
from arable.wire.machines import MoveIn
from arable.wire.operations import OperationOut

_NOBODY = AccountId("")
"""Whose operations these are: only operators see them."""


def move(call: Call, machine: MachineId, ask: MoveIn) -> OperationOut:
    """Done when it runs on the other host."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = _held(call, machine)
    to = host_asks.named(call, ask.to, field="to") if ask.to is not None else None
    before = moves.of(call.tx, [found.id]).get(found.id)
    if before and before.stage != MoveStage.OVER:
        return shown(_under_way(call, found, before, to))
    if to is not None and to.id == found.host:
        return shown(begin(call, moves.KIND, found.id, _NOBODY, done=True))
    source = _source(call, found)
    if to is not None:
        _check_kin(source, to, found)
    operation = begin(call, moves.KIND, found.id, _NOBODY, done=False)
    wanted = moves.begun(
        machine=found.id,
        source=source.id,
        why=MoveWhy.ASKED,
        at=call.around.clock.now(),
        wanted=to.id if to else None,
        operation=operation.id,
        before=before,
    )
    moves.put(call.tx, [wanted])
    nudge(call.tx, moves.TOPIC)
    return shown(operation)


def cancel(call: Call, machine: MachineId) -> OperationOut:
    """It stays where it is, unless it has arrived by then; the operation of the move says which, if it was asked for."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = _held(call, machine)
    now = moves.of(call.tx, [found.id]).get(found.id)
    if now is None or now.stage == MoveStage.OVER:
        raise Conflict(f"{found.name} is not on its way to another host")
    if now.why == MoveWhy.MAINTENANCE:
        raise Conflict(f"the host of {found.name} is in maintenance; take it out of that first")
    moves.cancel(call.tx, [found.id])
    nudge(call.tx, moves.TOPIC)
    if now.operation is None:  # nobody asked for it
        return shown(begin(call, "machine.cancel-move", found.id, _NOBODY, done=True))
    return shown(operations.get(call.tx, call.caller.scope, now.operation))


def _held(call: Call, id_: MachineId) -> Machine:
    found = machines.get(call.tx, call.caller.scope, id_, lock=True)
    check_expected(call, found.generation, "machine")
    return found


def _under_way(call: Call, machine: Machine, now: MoveRow, to: Host | None) -> Operation:
    if now.cancelled or now.operation is None or (to and to.id not in (now.target, now.wanted)):
        raise Conflict(
            f"{machine.name} is on its way to another host; cancel that first, or wait until it is there"
        )
    return operations.get(call.tx, call.caller.scope, now.operation)


def _source(call: Call, machine: Machine) -> Host:
    """The host that it can leave while it runs; refuses for what will not change by itself."""
    if machine.state is not MachineState.RUNNING or machine.wish is not MachineWish.RUNNING:
        raise Conflict(
            f"{machine.name} is {machine.state}; only one that runs is moved,"
            " any other is placed anew when it starts"
        )
    disks = attention.volumes(call.tx, [machine.id]).get(machine.id, [])
    if why := immovable([disk.host if disk.address else None for disk in disks]):
        raise Conflict(f"{machine.name} can't be moved: {why}")
    assert machine.host is not None
    source = hosts.get(call.tx, machine.host)
    if not source.facts.get("moves"):
        raise Conflict(
            f"{source.name}, where {machine.name} runs, can't send machines: its hypervisor has no way to"
        )
    return source


def _check_kin(source: Host, to: Host, machine: Machine) -> None:
    if "compute" not in to.roles:
        raise Conflict(f"{to.name} runs no machines", field="to")
    if to.facts.get("moves") != source.facts.get("moves"):
        raise Conflict(
            f"{to.name} can't take {machine.name} while it runs: its hypervisor or processor is another one"
            f" than that of {source.name}",
            field="to",
        )
