"""How farms are kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import bindparam, func, select

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.farm import Farm
from arable.domain.ids import AccountId, FarmId, StorageZoneId, ZoneId
from arable.store import holdings
from arable.store import schema as t
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.many import among
from arable.store.rows import insert_rows, raw, stamp
from arable.store.scope import visible

_COLUMNS = ("id", "account", "zone", "name", "storage_zone", "generation", "created_at")
_SELECT = raw(t.farm, _COLUMNS)
_row = attrgetter(*_COLUMNS[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmFilter:
    """Which farms of a list."""

    account: AccountId | None = None
    zone: ZoneId | None = None
    name: str = ""
    storage_zone: StorageZoneId | None = None


def get(tx: Tx, scope: Scope, id_: FarmId) -> Farm:
    """The farm, if it is there and in sight."""
    query = _SELECT.where(t.farm.c.id == id_, *visible(t.farm.c.account, scope))
    row = tx.execute(query).first()
    if row is None:
        raise NotFound("there is no such farm")
    return _farm(row)


def page(
    tx: Tx, scope: Scope, where: FarmFilter, *, after: str | None = None, limit: int = 100
) -> list[Farm]:
    """By key."""
    c = t.farm.c
    conditions = visible(c.account, scope)
    wanted = ((c.account, where.account), (c.zone, where.zone), (c.name, where.name))
    for column, value in (*wanted, (c.storage_zone, where.storage_zone)):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(c.id > after)
    query = _SELECT.where(*conditions).order_by(c.id).limit(limit)
    return [_farm(row) for row in tx.execute(query)]


def names(tx: Tx, farms: Iterable[FarmId]) -> dict[FarmId, str]:
    """What these farms are called. No scope narrows it: whoever calls has found what is theirs."""
    c = t.farm.c
    rows = tx.execute(select(c.id, c.name).where(among(tx, c.id, farms)))
    return {FarmId(id_): name for id_, name in rows}


def reaches(tx: Tx, farms: Iterable[FarmId]) -> dict[FarmId, StorageZoneId]:
    """The storage zones of these farms. No scope narrows it: whoever calls has found what is theirs."""
    c = t.farm.c
    rows = tx.execute(
        select(c.id, func.coalesce(c.storage_zone, c.id)).where(among(tx, c.id, farms))
    )
    return {FarmId(id_): StorageZoneId(zone) for id_, zone in rows}


def named(tx: Tx, account: AccountId, zone: ZoneId, name: str) -> Farm | None:
    """The farm of this name."""
    c = t.farm.c
    row = tx.execute(_SELECT.where(c.account == account, c.zone == zone, c.name == name)).first()
    return None if row is None else _farm(row)


def named_by(
    tx: Tx, accounts: Iterable[AccountId], zone: ZoneId, name: str
) -> dict[AccountId, Farm]:
    """The farms of this name of many accounts, those that have one."""
    rows = _named_by.rows(tx, accounts, zone=zone, name=name)
    return {farm.account: farm for farm in map(_farm, rows)}


_named_by = Lookup(
    lambda among: _SELECT.where(
        among(t.farm.c.account),
        t.farm.c.zone == bindparam("zone"),
        t.farm.c.name == bindparam("name"),
    )
)


def by_account(tx: Tx, farms: Iterable[FarmId]) -> list[Farm]:
    """These, in order of whom they belong to: the order in which accounts' limits are held."""
    c = t.farm.c
    query = _SELECT.where(among(tx, c.id, farms)).order_by(c.account, c.id)
    return [_farm(row) for row in tx.execute(query)]


def add(tx: Tx, farm: Farm) -> None:
    """Keep a new farm."""
    insert_rows(tx, t.farm, _COLUMNS, [(*_row(farm), stamp(farm.created_at))])
    holdings.wanting(tx)


def _farm(row: Any) -> Farm:
    (id_, account, zone, name, storage_zone, generation, created_at) = row
    return Farm(
        id=id_,
        account=account,
        zone=zone,
        name=name,
        storage_zone=storage_zone,
        generation=generation,
        created_at=moment(created_at),
    )
