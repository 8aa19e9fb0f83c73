"""Limits over all regions, in the grid manager's store: what accounts may hold, and what of it each region was granted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from arable.domain.shares import Share
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import json_text, put_rows, stamp

_l, _g = t.grid_limit.c, t.grid_grant.c
_GRANT = ("region", "account", "serial", "amounts", "at")
_OVER = "(region, account) do update set " + ", ".join(f"{n} = excluded.{n}" for n in _GRANT[2:])


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLimit:
    """Of an account, by its path. `limits`: of what is limited."""

    account: str
    limits: Mapping[str, int]
    short_at: datetime | None
    changed_at: datetime
    changed_by: str


def get(tx: Tx, account: str, *, lock: bool = False) -> GridLimit | None:
    """None: there is no limit."""
    query = select(t.grid_limit).where(_l.account == account)
    row = tx.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _limit(row)


def put(tx: Tx, account: str, limits: Mapping[str, int], at: datetime, by: str) -> None:
    """These count from now on; none: there is no limit any more."""
    values: dict[str, Any] = {"limits": dict(limits), "changed_at": at, "changed_by": by}
    if not limits:
        tx.execute(delete(t.grid_limit).where(_l.account == account))
    elif get(tx, account, lock=True) is None:
        tx.execute(insert(t.grid_limit).values(account=account, **values))
    else:
        tx.execute(update(t.grid_limit).where(_l.account == account).values(**values))


def page(tx: Tx, account: str | None, *, after: str = "", limit: int = 100) -> list[GridLimit]:
    """By path."""
    query = select(t.grid_limit).where(_l.account > after)
    if account is not None:
        query = query.where(_l.account == account)
    return [_limit(row) for row in tx.execute(query.order_by(_l.account).limit(limit))]


def granted(tx: Tx, accounts: list[str]) -> dict[str, dict[str, Share]]:
    """By account and region."""
    found: dict[str, dict[str, Share]] = {}
    query = select(t.grid_grant).where(among(tx, _g.account, accounts))
    for row in tx.execute(query.order_by(_g.account, _g.region)):
        share = Share(serial=row.serial, amounts=row.amounts)
        found.setdefault(row.account, {})[row.region] = share
    return found


def grant(tx: Tx, region: str, account: str, share: Share, at: datetime) -> None:
    """The region has that share from now on."""
    row = (region, account, share.serial, json_text(dict(share.amounts)), stamp(at))
    put_rows(tx, t.grid_grant, _GRANT, [row], _OVER)


def forget(tx: Tx, region: str) -> None:
    """The region has no share of anything any more."""
    tx.execute(delete(t.grid_grant).where(_g.region == region))


def shorten(tx: Tx, account: str, at: datetime) -> None:
    """Something that a region needs is lacking."""
    tx.execute(update(t.grid_limit).where(_l.account == account).values(short_at=at))


def short(tx: Tx, since: datetime) -> tuple[str, ...]:
    """Accounts of which something was lacking since then."""
    return tuple(tx.execute(select(_l.account).where(_l.short_at > since)).scalars())


def _limit(row: Row[Any]) -> GridLimit:
    return GridLimit(
        account=row.account,
        limits=row.limits,
        short_at=row.short_at,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )
