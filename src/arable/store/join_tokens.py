"""How join tokens are kept: by their digest, used once. One may be bound to the host that it lets in anew."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select, update

from arable.domain.host import JoinToken
from arable.domain.ids import HostId, JoinTokenId, PodId
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx

WHAT = "join token"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenFilter:
    """Which tokens of a list."""

    pod: PodId | None = None


def add(tx: Tx, token: JoinToken) -> None:
    """A new token."""
    kept.add(tx, t.join_token, token)


def get(tx: Tx, token: JoinTokenId) -> JoinToken:
    """Raises `NotFound`."""
    return kept.get(tx, t.join_token, JoinToken, WHAT, t.join_token.c.id == token)


def by_hash(tx: Tx, secret_hash: str) -> JoinToken | None:
    """The token whose secret has this digest, locked."""
    row = t.join_token.c
    query = select(t.join_token).where(row.secret_hash == secret_hash).with_for_update()
    found = tx.execute(query).first()
    return None if found is None else kept.value(JoinToken, found)


def page(
    tx: Tx, where: JoinTokenFilter, *, after: str | None = None, limit: int = 100
) -> list[JoinToken]:
    """Tokens by age."""
    conditions: list[ColumnElement[bool]] = []
    if where.pod is not None:
        conditions.append(t.join_token.c.pod == where.pod)
    return kept.page(tx, t.join_token, JoinToken, conditions, after=after, limit=limit)


def use(tx: Tx, token: JoinTokenId, host: HostId, request_hash: str, at: datetime) -> bool:
    """Use the token for `host`; False when somebody else has, or it is another host's."""
    row = t.join_token.c
    done = tx.execute(
        update(t.join_token)
        .where(row.id == token, row.used_at.is_(None), or_(row.host.is_(None), row.host == host))
        .values(used_at=at, host=host, request_hash=request_hash)
    )
    return done.rowcount == 1


def end_others(tx: Tx, token: JoinToken, at: datetime) -> None:
    """All other tokens of this one's host, used or not, are over: no answer is given again for them either."""
    row = t.join_token.c
    tx.execute(
        update(t.join_token)
        .where(row.host == token.host, row.id != token.id, row.expires_at > at)
        .values(expires_at=at)
    )


def remove(tx: Tx, token: JoinTokenId) -> None:
    """Nobody can join by it any more."""
    tx.execute(delete(t.join_token).where(t.join_token.c.id == token))
