"""How storage pools are kept. What their hosts say of them is written by `sights.py`."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, select

from arable.domain.ids import HostId, PoolId, ZoneId
from arable.domain.pool import Pool
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx

WHAT = "storage pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFilter:
    """Which pools of a list."""

    zone: ZoneId | None = None
    host: HostId | None = None


def add(tx: Tx, pool: Pool) -> None:
    """A new pool."""
    kept.add(tx, t.pool, pool)


def get(tx: Tx, pool: PoolId) -> Pool:
    """Raises `NotFound`."""
    return kept.get(tx, t.pool, Pool, WHAT, t.pool.c.id == pool)


def page(tx: Tx, where: PoolFilter, *, after: str | None = None, limit: int = 100) -> list[Pool]:
    """Pools by age."""
    conditions: list[ColumnElement[bool]] = []
    if where.zone is not None:
        conditions.append(t.pool.c.zone == where.zone)
    if where.host is not None:
        conditions.append(t.pool.c.host == where.host)
    return kept.page(tx, t.pool, Pool, conditions, after=after, limit=limit)


def has_volumes(tx: Tx, pool: PoolId) -> bool:
    """Whether any volume is there, or is still being erased."""
    return bool(tx.execute(select(exists().where(t.volume.c.pool == pool))).scalar())
