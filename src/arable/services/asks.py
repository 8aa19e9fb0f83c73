"""What every asynchronous ask does: begin its operation, end the one it takes the place of, say what is under way."""

from typing import Any

from arable.domain.access import Permission
from arable.domain.errors import Conflict, Stale
from arable.domain.event import Event
from arable.domain.ids import AccountId, NetworkId, OperationId
from arable.domain.machine import Machine
from arable.domain.network import Network
from arable.domain.operation import Operation, OperationState, Step
from arable.services.call import Call
from arable.store import events, networks, operations
from arable.store.nudges import nudge

MACHINES, NETWORKS = "machines", "networks"
"""Topics of the controllers that act on what is asked."""


def begin(
    call: Call,
    kind: str,
    target: str,
    account: AccountId,
    *,
    done: bool,
    result: Any = None,
    parts: int = 1,
) -> Operation:
    """A new operation of the account that owns what it is about; with `done` there is nothing to wait for."""
    now = call.around.clock.now()
    operation = Operation(
        id=OperationId(call.around.ids.new("operation")),
        account=account,
        user=call.caller.user,
        kind=kind,
        target=target,
        state=OperationState.DONE if done else OperationState.RUNNING,
        total=parts,
        pending=0 if done else parts,
        steps=(Step(now, "done"),) if done else (),
        result=result,
        created_at=now,
        changed_at=now,
    )
    operations.add(call.tx, operation)
    return operation


def supersede(call: Call, machine: Machine, by: Operation) -> None:
    """End the machine's part in the operation that waited for it: nobody wants its outcome any more."""
    if machine.operation is None or machine.operation == by.id:
        return
    error = Conflict(
        f"superseded: {by.kind} was asked for {machine.name} before this was done",
        why={"superseded_by": by.id, "machine": machine.id},
    )
    operations.settle_many(call.tx, {machine.operation: (1, error)}, call.around.clock.now())


def under_way(call: Call, operation: OperationId) -> Operation:
    """The operation that waits for what is asked once more."""
    return operations.get(call.tx, call.caller.scope, operation)


def network_changed(
    call: Call, network: Network, kind: str, *, result: Any = None, **but: Any
) -> Operation:
    """Another wish for the network's appliance, and the operation that is done when it is in effect."""
    operation = begin(call, kind, network.id, network.account, done=False, result=result)
    networks.save(call.tx, network.changed(attention=True, **but))
    nudge(call.tx, NETWORKS)
    return operation


def own_network(call: Call, id_: NetworkId) -> Network:
    """A network that the caller may change, held until the end of the transaction."""
    call.caller.needs(Permission.NETWORK_WRITE)
    return networks.get(call.tx, call.caller.scope, id_, lock=True)


def tell(call: Call, account: AccountId, kind: str, subject: str, text: str) -> None:
    """One event."""
    at = call.around.clock.now()
    events.add_many(call.tx, [Event(at=at, account=account, kind=kind, subject=subject, text=text)])


def check_expected(call: Call, generation: int, what: str) -> None:
    """Raises `Stale` when the caller saw another generation (If-Match)."""
    if call.expects is not None and call.expects != generation:
        raise Stale(
            f"the {what} is at generation {generation}, not {call.expects}; read it again and decide anew"
        )
