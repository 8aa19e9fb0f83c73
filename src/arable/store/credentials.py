"""Who a token belongs to and what its holder may do: one query for all tokens of a kind, asked at most once a second."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, select, update

from arable.domain.access import Permission, Rank
from arable.domain.ids import AccountId, DomainId, KeyId, SessionId, UserId
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among


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


def of_keys(tx: Tx, keys: Collection[KeyId]) -> dict[str, Holder]:
    """The holders of API keys, of those that are there."""
    if not keys:
        return {}
    query = _with_holders(t.api_key, t.api_key.c.scopes, t.api_key.c.used_at)
    rows = tx.execute(query.where(among(tx, t.api_key.c.id, keys))).mappings()
    return {row["id"]: _holder(row, permissions_of(row["scopes"]), row["used_at"]) for row in rows}


def of_sessions(tx: Tx, sessions: Collection[SessionId]) -> dict[str, Holder]:
    """The holders of sessions, of those that are there."""
    if not sessions:
        return {}
    rows = tx.execute(_with_holders(t.session).where(among(tx, t.session.c.id, sessions)))
    return {row["id"]: _holder(row, None, None) for row in rows.mappings()}


def used(tx: Tx, keys: Collection[KeyId], at: datetime) -> None:
    """These keys were used."""
    tx.execute(update(t.api_key).where(among(tx, t.api_key.c.id, keys)).values(used_at=at))


def permissions_of(names: Any) -> frozenset[Permission]:
    """Those that this version knows; another version's are of no use to it."""
    known = Permission.__members__.values()
    return frozenset(each for each in known if each in set(names))


def _with_holders(table: Table, *more: Any) -> Select[Any]:
    return (
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
    )


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
