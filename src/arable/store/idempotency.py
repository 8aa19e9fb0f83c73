"""Answers kept for those who ask again, in the transaction of what they answer: both are durable, or neither.

The row is there before the deed: of two requests with one key, on whatever management servers, the second waits
here for the first one's end and then finds its answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, select, text, update

from arable.store import schema as t
from arable.store.columns import micros
from arable.store.database import Tx

_BEGIN = text(
    'insert into idempotency ("user", "key", fingerprint, status, body, created_at)'
    " values (:user, :key, :fingerprint, 0, '', :at) on conflict do nothing"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer of the first time."""

    fingerprint: str
    status: int
    body: bytes


def begin(
    tx: Tx, user: str, key: str, fingerprint: str, *, now: datetime, since: datetime
) -> Kept | None:
    """Take the key for this request; what was answered then, if it was taken already after `since`."""
    mine = (t.idempotency.c.user == user) & (t.idempotency.c.key == key)
    given = {"user": user, "key": key, "fingerprint": fingerprint, "at": micros(now)}
    if tx.execute(_BEGIN, given).rowcount == 1:
        return None
    row = tx.execute(
        select(
            t.idempotency.c.fingerprint,
            t.idempotency.c.status,
            t.idempotency.c.body,
            t.idempotency.c.created_at,
        ).where(mine)
    ).one()
    if row.created_at >= since:
        return Kept(row.fingerprint, row.status, row.body.encode())
    tx.execute(delete(t.idempotency).where(mine))
    tx.execute(_BEGIN, given)
    return None


def keep(tx: Tx, answers: Sequence[tuple[str, str, int, bytes]]) -> None:
    """The answers (user, key, status, body) of keys that were begun in this transaction."""
    if answers:
        tx.execute(
            update(t.idempotency)
            .where(
                t.idempotency.c.user == bindparam("of"), t.idempotency.c.key == bindparam("named")
            )
            .values(status=bindparam("code"), body=bindparam("text")),
            [
                {"of": user, "named": key, "code": status, "text": body.decode()}
                for user, key, status, body in answers
            ],
        )


def forget(tx: Tx, taken: Sequence[tuple[str, str]]) -> None:
    """Keys (user, key) whose requests were refused: they may be used again."""
    for user, key in taken:
        tx.execute(
            delete(t.idempotency).where(t.idempotency.c.user == user, t.idempotency.c.key == key)
        )


def expire(tx: Tx, before: datetime) -> int:
    """Throw away what is older; how many."""
    return tx.execute(delete(t.idempotency).where(t.idempotency.c.created_at < before)).rowcount
