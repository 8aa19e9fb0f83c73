"""Who did what, or was refused it. Written in the transaction of the deed; never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import Row, func, select

from arable.domain.access import Scope
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.rows import insert_rows, stamp
from arable.store.scope import visible

_WORDS = ("account", "user", "via", "source", "request", "action", "target", "outcome")
_ADDED = ("at", *_WORDS)
_words = attrgetter(*_WORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`via` is "password", the id of a key, or "system"; `outcome` is "ok" or the kind of refusal."""

    at: datetime
    account: str
    user: str
    via: str
    source: str
    request: str
    action: str
    target: str
    outcome: str
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries."""

    user: str | None = None
    account: str | None = None
    target: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def add_many(tx: Tx, entries: Sequence[Entry]) -> None:
    """Write them down."""
    insert_rows(tx, t.audit, _ADDED, [(stamp(each.at), *_words(each)) for each in entries])


def page(
    tx: Tx, scope: Scope, where: AuditFilter, *, before: int | None = None, limit: int = 100
) -> list[Entry]:
    """The newest first; `before` is the number of the last one seen."""
    query = select(t.audit).where(*visible(t.audit.c.account, scope))
    for column, wanted in (
        (t.audit.c.user, where.user),
        (t.audit.c.account, where.account),
        (t.audit.c.target, where.target),
        (t.audit.c.outcome, where.outcome),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if where.since is not None:
        query = query.where(t.audit.c.at >= where.since)
    if where.until is not None:
        query = query.where(t.audit.c.at < where.until)
    if before is not None:
        query = query.where(t.audit.c.number < before)
    return [_entry(row) for row in tx.execute(query.order_by(t.audit.c.number.desc()).limit(limit))]


def count(tx: Tx) -> int:
    """How many there are."""
    return tx.execute(select(func.count()).select_from(t.audit)).scalar_one()


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        at=row.at,
        account=row.account,
        user=row.user,
        via=row.via,
        source=row.source,
        request=row.request,
        action=row.action,
        target=row.target,
        outcome=row.outcome,
        number=row.number,
    )
