"""Operations: what became of calls that were accepted."""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from arable.domain.access import Permission
from arable.domain.failure import Failure
from arable.domain.ids import MachineId, OperationId
from arable.domain.operation import Operation
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import moves, operations
from arable.wire.common import Page
from arable.wire.operations import (
    FailureOut,
    OperationOut,
    OperationQuery,
    OperationWaitQuery,
    StepOut,
)

TYPE = "urn:arable:problem:"
_HOSTS = ("hosts", "avoid", "lost", "wakes")
"""Facts that name hosts: for those who may see them."""


def page(call: Call, query: OperationQuery) -> Page[OperationOut]:
    """Those that the caller sees, the newest first."""
    call.caller.needs(Permission.EVENT_READ)
    where = operations.OperationFilter(
        states=query.state, kind=query.kind, target=query.target, account=query.account
    )
    found = operations.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    return paged(found, query, lambda operation: _to(call, operation))


def get(call: Call, operation: OperationId, query: OperationWaitQuery) -> OperationOut:  # noqa: ARG001 - the adaptor waits
    """One of them."""
    call.caller.needs(Permission.EVENT_READ)
    found = operations.get(call.tx, call.caller.scope, operation)
    answer = _to(call, found)
    return _moving(call, answer) if found.kind == moves.KIND else answer


def _moving(call: Call, operation: OperationOut) -> OperationOut:
    """A move says how far it is."""
    machine = MachineId(operation.target)
    row = moves.of(call.tx, [machine]).get(machine)
    if row is None or row.operation != operation.id:
        return operation
    result = {"stage": row.stage, "sent_bytes": row.sent_bytes, "left_bytes": row.left_bytes}
    return structs.replace(operation, result=result)


def topic(operation: str) -> str:
    """What is nudged when it changes."""
    return operations.topic(operation)


def over(operation: OperationOut) -> bool:
    """Whether nothing more will become of it."""
    return operation.state != "running"


def _to(call: Call, operation: Operation) -> OperationOut:
    infra = Permission.INFRA_READ in call.caller.permissions
    return shown(operation) if infra else discreet(shown(operation))


def shown(operation: Operation) -> OperationOut:
    """As it looks outside."""
    return OperationOut(
        id=operation.id,
        kind=operation.kind,
        target=operation.target,
        state=operation.state.value,
        total=operation.total,
        pending=operation.pending,
        steps=[StepOut(at=step.at, text=step.text) for step in operation.steps],
        result=operation.result,
        error=None if operation.error is None else failed(operation.error),
        account=operation.account,
        user=operation.user,
        created_at=operation.created_at,
        changed_at=operation.changed_at,
    )


def failed(failure: Failure) -> FailureOut:
    """A failure and its causes, as they look outside."""
    return FailureOut(
        type=TYPE + failure.kind,
        title=failure.kind.replace("-", " ").capitalize(),
        detail=failure.text,
        why=failure.why,
        causes=[failed(cause) for cause in failure.causes],
    )


def without_hosts(why: Mapping[str, Any]) -> dict[str, Any]:
    """What was thought at a placement, by rule but not by host."""
    return {name: fact for name, fact in why.items() if name not in _HOSTS}


def discreet(operation: OperationOut) -> OperationOut:
    """For customers: which hosts there are is not their business."""
    if operation.error is None:
        return operation
    return structs.replace(operation, error=_unnamed(operation.error))


def _unnamed(failure: FailureOut) -> FailureOut:
    why = failure.why
    return structs.replace(
        failure,
        why=without_hosts(why) if isinstance(why, Mapping) else why,
        causes=[_unnamed(cause) for cause in failure.causes],
    )
