"""How storage zones that farms share are kept, and what is in them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import case, delete, func, select, update

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.ids import AccountId, StorageZoneId, ZoneId
from arable.domain.storage_zone import StorageZone
from arable.store import schema as t
from arable.store.columns import micros, moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, raw, stamp
from arable.store.scope import visible

_COLUMNS = ("id", "account", "zone", "name", "generation", "created_at")
_SELECT = raw(t.storage_zone, _COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageZoneFilter:
    """Which storage zones of a list."""

    account: AccountId | None = None
    zone: ZoneId | None = None
    name: str = ""


class Members(NamedTuple):
    """How many of each reach it, or are in it."""

    farms: int = 0
    machines: int = 0
    volumes: int = 0


def get(tx: Tx, scope: Scope, id_: StorageZoneId) -> StorageZone:
    """The storage zone, if it is there and in sight."""
    c = t.storage_zone.c
    row = tx.execute(_SELECT.where(c.id == id_, *visible(c.account, scope))).first()
    if row is None:
        raise NotFound("there is no such storage zone")
    return _zone(row)


def named(tx: Tx, account: AccountId, zone: ZoneId, name: str) -> StorageZone | None:
    """The account's, of this name."""
    c = t.storage_zone.c
    row = tx.execute(_SELECT.where(c.account == account, c.zone == zone, c.name == name)).first()
    return None if row is None else _zone(row)


def page(
    tx: Tx, scope: Scope, where: StorageZoneFilter, *, after: str | None = None, limit: int = 100
) -> list[StorageZone]:
    """By key."""
    c = t.storage_zone.c
    conditions = visible(c.account, scope)
    for column, value in ((c.account, where.account), (c.zone, where.zone), (c.name, where.name)):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(c.id > after)
    query = _SELECT.where(*conditions).order_by(c.id).limit(limit)
    return [_zone(row) for row in tx.execute(query)]


def count(tx: Tx, account: AccountId, zone: ZoneId) -> int:
    """How many the account has there."""
    c = t.storage_zone.c
    query = select(func.count()).where(c.account == account, c.zone == zone)
    return int(tx.execute(query).scalar_one())


def members(tx: Tx, ids: list[StorageZoneId]) -> dict[StorageZoneId, Members]:
    """What these have. No scope narrows it: whoever calls has found what is theirs."""
    f, m, v = t.farm.c, t.machine.c, t.volume.c
    there = among(tx, f.storage_zone, ids)
    counted = (
        select(f.storage_zone, func.count()).where(there).group_by(f.storage_zone),
        select(f.storage_zone, func.count())
        .join(t.machine, m.farm == f.id)
        .where(there)
        .group_by(f.storage_zone),
        select(v.storage_zone, func.count())
        .where(among(tx, v.storage_zone, ids))
        .group_by(v.storage_zone),
    )
    found = [{StorageZoneId(id_): int(n) for id_, n in tx.execute(each)} for each in counted]
    return {id_: Members(*(each.get(id_, 0) for each in found)) for id_ in ids}


def add(tx: Tx, zone: StorageZone) -> None:
    """Keep a new one."""
    row = (zone.id, zone.account, zone.zone, zone.name, zone.generation, stamp(zone.created_at))
    insert_rows(tx, t.storage_zone, _COLUMNS, [row])


def remove(tx: Tx, id_: StorageZoneId) -> None:
    """Forget it; nothing is in it."""
    tx.execute(delete(t.storage_zone).where(t.storage_zone.c.id == id_))


def clear(tx: Tx, id_: StorageZoneId, at: datetime) -> None:
    """What was in this one is in none: no machine reaches it, until one has it again."""
    v = t.volume
    now = micros(at)
    there = update(v).where(v.c.storage_zone == id_)
    gone = {
        "storage_zone": None,
        "zoned": case((v.c.zoned < now, now), else_=v.c.zoned + 1),
        "generation": v.c.generation + 1,
    }
    tx.execute(there.values(gone))


def _zone(row: Any) -> StorageZone:
    kept = dict(zip(_COLUMNS, row, strict=True))
    return StorageZone(**{**kept, "created_at": moment(kept["created_at"])})
