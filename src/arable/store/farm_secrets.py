"""How secrets of farms are kept: sealed, always."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, select

from arable.domain.access import Scope
from arable.domain.farm_secret import FarmSecret
from arable.domain.ids import AccountId, FarmId, SecretId
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.scope import visible

WHAT = "secret"

_s = t.farm_secret.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFilter:
    """Which secrets of a list."""

    account: AccountId | None = None
    farm: FarmId | None = None
    name: str | None = None


def add(tx: Tx, secret: FarmSecret) -> None:
    """A new one."""
    kept.add(tx, t.farm_secret, secret)


def save(tx: Tx, secret: FarmSecret) -> None:
    """The next generation of it; raises `Stale` when somebody got there first."""
    kept.save(tx, t.farm_secret, secret, WHAT)


def remove(tx: Tx, secret: SecretId) -> None:
    """There is no such secret any more."""
    tx.execute(delete(t.farm_secret).where(_s.id == secret))


def get(tx: Tx, scope: Scope, secret: SecretId, *, lock: bool = False) -> FarmSecret:
    """Raises `NotFound`."""
    where = (_s.id == secret, *visible(_s.account, scope))
    return kept.get(tx, t.farm_secret, FarmSecret, WHAT, *where, lock=lock)


def page(
    tx: Tx, scope: Scope, where: SecretFilter, *, after: str | None = None, limit: int = 100
) -> list[FarmSecret]:
    """By age."""
    conditions = visible(_s.account, scope)
    for column, value in (
        (_s.account, where.account),
        (_s.farm, where.farm),
        (_s.name, where.name),
    ):
        if value is not None:
            conditions.append(column == value)
    return kept.page(tx, t.farm_secret, FarmSecret, conditions, after=after, limit=limit)


def of_farm(tx: Tx, farm: FarmId, names: Iterable[str] | None = None) -> dict[str, FarmSecret]:
    """A farm's secrets by name, or those of these names. Whoever calls has looked the farm up with a scope."""
    query = select(t.farm_secret).where(_s.farm == farm)
    if names is not None:
        query = query.where(among(tx, _s.name, names))
    return {row.name: kept.value(FarmSecret, row) for row in tx.execute(query)}
