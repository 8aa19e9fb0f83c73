"""Events as rows, numbered in the order in which they were written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select

from arable.domain.access import Scope
from arable.domain.event import Event
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.rows import insert_rows, json_text, stamp
from arable.store.scope import visible

TOPIC = "events"
_ADDED = ("at", "account", "kind", "subject", "text", "data")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events. `kind` may be the beginning of one, up to a dot: `machine` finds `machine.running`."""

    kind: str | None = None
    subject: str | None = None
    account: str | None = None


def add_many(tx: Tx, events: Sequence[Event]) -> None:
    """Tell what happened."""
    if not events:
        return
    rows = [
        (
            stamp(each.at),
            each.account,
            each.kind,
            each.subject,
            each.text,
            json_text(each.data) if each.data else "{}",
        )
        for each in events
    ]
    insert_rows(tx, t.event, _ADDED, rows)
    nudge(tx, TOPIC)


def page(
    tx: Tx,
    scope: Scope,
    where: EventFilter,
    *,
    after: int = 0,
    until: int | None = None,
    limit: int = 100,
) -> list[Event]:
    """In order of number, from the one after `after` up to `until`."""
    query = select(t.event).where(t.event.c.number > after, *visible(t.event.c.account, scope))
    if until is not None:
        query = query.where(t.event.c.number <= until)
    if where.kind is not None:
        query = query.where(
            (t.event.c.kind == where.kind)
            | t.event.c.kind.startswith(f"{where.kind}.", autoescape=True)
        )
    if where.subject is not None:
        query = query.where(t.event.c.subject == where.subject)
    if where.account is not None:
        query = query.where(t.event.c.account == where.account)
    return [_event(row) for row in tx.execute(query.order_by(t.event.c.number).limit(limit))]


def last(tx: Tx) -> int:
    """The highest number that can be seen; 0 when there is no event."""
    return tx.execute(select(func.max(t.event.c.number))).scalar() or 0


def tail(tx: Tx, after: int, limit: int = 1000) -> list[tuple[Event, str]]:
    """Everybody's events after a number, each with the path of its account's domain: for the live stream."""
    rows = tx.execute(
        select(t.event, t.domain.c.path)
        .outerjoin(t.account, t.event.c.account == t.account.c.id)
        .outerjoin(t.domain, t.account.c.domain == t.domain.c.id)
        .where(t.event.c.number > after)
        .order_by(t.event.c.number)
        .limit(limit)
    )
    return [(_event(row), row.path or "") for row in rows]


def _event(row: Row[Any]) -> Event:
    return Event(
        at=row.at,
        account=row.account,
        kind=row.kind,
        subject=row.subject,
        text=row.text,
        data=row.data,
        number=row.number,
    )
