"""How API keys and sessions are kept: their digests, never their text."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.ids import KeyId, SessionId, UserId
from arable.domain.user import ApiKey, Session
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.scope import visible


def add(tx: Tx, key: ApiKey) -> None:
    """A new key."""
    kept.add(tx, t.api_key, key)


def get(tx: Tx, scope: Scope, key: KeyId) -> ApiKey:
    """Raises `NotFound`."""
    return kept.get(tx, t.api_key, ApiKey, "key", t.api_key.c.id == key, *_visible(scope))


def page(
    tx: Tx, scope: Scope, user: str | None, *, after: str | None = None, limit: int = 100
) -> list[ApiKey]:
    """By age."""
    conditions = [*_visible(scope)]
    if user is not None:
        conditions.append(t.api_key.c.user == user)
    return kept.page(tx, t.api_key, ApiKey, conditions, after=after, limit=limit)


def count(tx: Tx, user: UserId) -> int:
    """How many a user has."""
    query = select(func.count()).select_from(t.api_key).where(t.api_key.c.user == user)
    return tx.execute(query).scalar_one()


def remove(tx: Tx, key: KeyId) -> None:
    """It no longer counts."""
    if tx.execute(delete(t.api_key).where(t.api_key.c.id == key)).rowcount != 1:
        raise NotFound("there is no such key")


def remove_of(tx: Tx, user: UserId) -> None:
    """All keys of a user."""
    tx.execute(delete(t.api_key).where(t.api_key.c.user == user))


def add_session(tx: Tx, session: Session) -> None:
    """Somebody signed in."""
    tx.execute(
        insert(t.session).values(
            id=session.id,
            user=session.user,
            secret_hash=session.secret_hash,
            expires_at=session.expires_at,
            created_at=session.created_at,
        )
    )


def sessions(
    tx: Tx, user: UserId, now: datetime, *, after: str | None = None, limit: int = 100
) -> list[Session]:
    """Those of a user that still count, by age."""
    where = (t.session.c.user == user, t.session.c.expires_at > now)
    return kept.page(tx, t.session, Session, where, after=after, limit=limit)


def remove_session(tx: Tx, user: UserId, session: SessionId) -> None:
    """Signed out; raises `NotFound` for another user's."""
    gone = delete(t.session).where(t.session.c.id == session, t.session.c.user == user)
    if tx.execute(gone).rowcount != 1:
        raise NotFound("there is no such session")


def remove_sessions(tx: Tx, user: UserId, but: str = "") -> None:
    """Signed out everywhere, or everywhere else."""
    tx.execute(delete(t.session).where(t.session.c.user == user, t.session.c.id != but))


def expire_sessions(tx: Tx, before: datetime) -> int:
    """Throw away those that no longer count; how many."""
    return tx.execute(delete(t.session).where(t.session.c.expires_at < before)).rowcount


def _visible(scope: Scope) -> list[ColumnElement[bool]]:
    conditions: list[Any] = visible(t.user.c.account, scope)
    return [t.api_key.c.user.in_(select(t.user.c.id).where(*conditions))] if conditions else []
