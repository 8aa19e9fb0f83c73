"""Who a token belongs to and what its holder may do: one query for each kind of token, asked at most once a second."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, select, update

from arable.domain.access import Permission, Rank
from arable.domain.ids import AccountId, DomainId, KeyId, SessionId, UserId
from arable.store import schema as t
from arable.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A credential, and whose it is, as the store has it. What counts of it is decided elsewhere."""

    id: str
    secret_hash: str
    expires_at: datetime | None
    scopes: frozenset[Permission] | None  # None: all that the role has
    used_at: datetime | None
    user: UserId
    name: str
    account: AccountId
    domain: DomainId
    path: str
    role: str
    rank: Rank
    permissions: frozenset[Permission]
    enabled: bool


def of_key(tx: Tx, key: KeyId) -> Holder | None:
    """The holder of an API key."""
    row = _one(tx, t.api_key, t.api_key.c.id == key, t.api_key.c.scopes, t.api_key.c.used_at)
    return None if row is None else _holder(row, permissions_of(row["scopes"]), row["used_at"])


def of_session(tx: Tx, session: SessionId) -> Holder | None:
    """The holder of a session."""
    row = _one(tx, t.session, t.session.c.id == session)
    return None if row is None else _holder(row, None, None)


def used(tx: Tx, key: KeyId, at: datetime) -> None:
    """The key was used."""
    tx.execute(update(t.api_key).where(t.api_key.c.id == key).values(used_at=at))


def permissions_of(names: Any) -> frozenset[Permission]:
    """Those that this version knows; another version's are of no use to it."""
    known = Permission.__members__.values()
    return frozenset(each for each in known if each in set(names))


def _one(
    tx: Tx, table: Table, condition: ColumnElement[bool], *more: Any
) -> Mapping[Any, Any] | None:
    query: Select[Any] = (
        select(
            table.c.id,
            table.c.secret_hash,
            table.c.expires_at,
            *more,
            t.user.c.id.label("user_id"),
            t.user.c.name.label("user_name"),
            t.user.c.account,
            t.user.c.role,
            t.user.c.enabled.label("user_enabled"),
            t.role.c.rank,
            t.role.c.permissions,
            t.account.c.domain,
            t.account.c.enabled.label("account_enabled"),
            t.domain.c.path,
        )
        .join(t.user, table.c.user == t.user.c.id)
        .join(t.role, t.user.c.role == t.role.c.name)
        .join(t.account, t.user.c.account == t.account.c.id)
        .join(t.domain, t.account.c.domain == t.domain.c.id)
        .where(condition)
    )
    return tx.execute(query).mappings().first()


def _holder(
    row: Mapping[Any, Any], scopes: frozenset[Permission] | None, used_at: datetime | None
) -> Holder:
    return Holder(
        id=row["id"],
        secret_hash=row["secret_hash"],
        expires_at=row["expires_at"],
        scopes=scopes,
        used_at=used_at,
        user=row["user_id"],
        name=row["user_name"],
        account=row["account"],
        domain=row["domain"],
        path=row["path"],
        role=row["role"],
        rank=Rank(row["rank"]),
        permissions=permissions_of(row["permissions"]),
        enabled=bool(row["user_enabled"] and row["account_enabled"]),
    )
