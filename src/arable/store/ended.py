"""Operations that have ended, as the log tells of them: what and how long, and nothing that anybody wrote."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select

from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among


class Ended(NamedTuple):
    """One of them."""

    id: str
    account: str
    kind: str
    target: str
    state: str
    total: int
    created_at: datetime
    changed_at: datetime


def ended(tx: Tx, operations: Iterable[str]) -> list[Ended]:
    """Those among these that have ended, by age."""
    o = t.operation.c
    query = select(*(o[name] for name in Ended._fields)).where(
        among(tx, o.id, operations), o.state != "running"
    )
    return [Ended._make(row) for row in tx.execute(query.order_by(o.id))]
