"""Operations: what became of calls that were accepted."""

from arable.domain.access import Permission
from arable.domain.failure import Failure
from arable.domain.ids import OperationId
from arable.domain.operation import Operation
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import operations
from arable.wire.common import Page
from arable.wire.operations import (
    FailureOut,
    OperationOut,
    OperationQuery,
    OperationWaitQuery,
    StepOut,
)

TYPE = "urn:arable:problem:"


def page(call: Call, query: OperationQuery) -> Page[OperationOut]:
    """Those that the caller sees, the newest first."""
    call.caller.needs(Permission.EVENT_READ)
    where = operations.OperationFilter(
        states=query.state, kind=query.kind, target=query.target, account=query.account
    )
    found = operations.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    return paged(found, query, shown)


def get(call: Call, operation: OperationId, query: OperationWaitQuery) -> OperationOut:  # noqa: ARG001 - the adaptor waits
    """One of them."""
    call.caller.needs(Permission.EVENT_READ)
    return shown(operations.get(call.tx, call.caller.scope, operation))


def topic(operation: str) -> str:
    """What is nudged when it changes."""
    return operations.topic(operation)


def over(operation: OperationOut) -> bool:
    """Whether nothing more will become of it."""
    return operation.state != "running"


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
