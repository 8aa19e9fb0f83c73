"""Events: as a list, and as a stream that `follow` begins and `missed` and `concerns` feed."""

from dataclasses import dataclass

from arable.domain.access import Caller, Permission
from arable.domain.event import Event
from arable.services.call import Call
from arable.store import events
from arable.store.events import EventFilter
from arable.wire.common import Page
from arable.wire.events import EventOut, EventQuery, EventStreamQuery

TOPIC = events.TOPIC
tail = events.tail
last = events.last


@dataclass(frozen=True, slots=True)
class Following:
    """A stream's wish: whose and which events."""

    caller: Caller
    where: EventFilter


def page(call: Call, query: EventQuery) -> Page[EventOut]:
    """Those that concern what the caller sees, the oldest first."""
    call.caller.needs(Permission.EVENT_READ)
    where = EventFilter(kind=query.kind, subject=query.subject, account=query.account)
    found = events.page(
        call.tx,
        call.caller.scope,
        where,
        after=int(query.after or 0),
        limit=query.limit + 1,
    )
    kept = found[: query.limit]
    more = len(found) > query.limit
    return Page(items=[shown(each) for each in kept], next=str(kept[-1].number) if more else None)


def stream(call: Call, query: EventStreamQuery) -> Following:
    """Follow them."""
    call.caller.needs(Permission.EVENT_READ)
    where = EventFilter(kind=query.kind, subject=query.subject, account=query.account)
    return Following(call.caller, where)


def missed(call: Call, following: Following, after: int, until: int, limit: int) -> list[Event]:
    """What happened between two numbers."""
    scope = following.caller.scope
    return events.page(call.tx, scope, following.where, after=after, until=until, limit=limit)


def concerns(following: Following, event: Event, path: str) -> bool:
    """Whether an event of an account in the domain at `path` belongs into the stream. As `page` would say."""
    scope, where = following.caller.scope, following.where
    if scope.account is not None and event.account != scope.account:
        return False
    if scope.below is not None and path != scope.below and not path.startswith(f"{scope.below}/"):
        return False
    if where.kind is not None and not f"{event.kind}.".startswith(f"{where.kind}."):
        return False
    if where.subject is not None and event.subject != where.subject:
        return False
    return where.account is None or event.account == where.account


def shown(event: Event) -> EventOut:
    """As it looks outside."""
    return EventOut(
        number=event.number,
        at=event.at,
        account=event.account,
        kind=event.kind,
        subject=event.subject,
        text=event.text,
        data=event.data,
    )
