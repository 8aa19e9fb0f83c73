"""Operations, events and the audit over HTTP."""

from arable.api.operation import Op, Wait
from arable.domain.access import Permission
from arable.services import audit, events, operations
from arable.wire.events import AuditQuery, EventOut, EventQuery, EventStreamQuery
from arable.wire.operations import OperationQuery, OperationWaitQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/operations",
        does=operations.page,
        permission=Permission.EVENT_READ,
        writes=False,
        query=OperationQuery,
        summary="List operations, the newest first",
    ),
    Op(
        method="GET",
        path="/v1/operations/{operation}",
        does=operations.get,
        permission=Permission.EVENT_READ,
        writes=False,
        query=OperationWaitQuery,
        wait=Wait(operations.topic, operations.over),
        summary="Show an operation, or wait for its end",
    ),
    Op(
        method="GET",
        path="/v1/events",
        does=events.page,
        permission=Permission.EVENT_READ,
        writes=False,
        query=EventQuery,
        summary="List events, the oldest first",
    ),
    Op(
        method="GET",
        path="/v1/events/stream",
        does=events.stream,
        permission=Permission.EVENT_READ,
        writes=False,
        query=EventStreamQuery,
        stream=EventOut,
        summary="Follow events as they happen",
        about="Server-sent events. Send the last id as `Last-Event-ID` to go on after an interruption.",
    ),
    Op(
        method="GET",
        path="/v1/audit",
        does=audit.page,
        permission=Permission.AUDIT_READ,
        writes=False,
        query=AuditQuery,
        summary="List who did what, the newest first",
    ),
)
