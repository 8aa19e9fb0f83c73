"""The audit, for those who may read it."""

from arable.domain.access import Permission
from arable.services.call import Call
from arable.store import audit
from arable.wire.common import Page
from arable.wire.events import AuditOut, AuditQuery


def page(call: Call, query: AuditQuery) -> Page[AuditOut]:
    """Entries of accounts that the caller sees, the newest first."""
    call.caller.needs(Permission.AUDIT_READ)
    where = audit.AuditFilter(
        user=query.user,
        account=query.account,
        target=query.target,
        outcome=query.outcome,
        since=query.since,
        until=query.until,
    )
    before = None if query.after is None else int(query.after)
    found = audit.page(call.tx, call.caller.scope, where, before=before, limit=query.limit + 1)
    kept = found[: query.limit]
    more = len(found) > query.limit
    return Page(items=[_shown(each) for each in kept], next=str(kept[-1].number) if more else None)


def _shown(entry: audit.Entry) -> AuditOut:
    return AuditOut(
        number=entry.number,
        at=entry.at,
        account=entry.account,
        user=entry.user,
        via=entry.via,
        source=entry.source,
        request=entry.request,
        action=entry.action,
        target=entry.target,
        outcome=entry.outcome,
    )
