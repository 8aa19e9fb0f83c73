"""How public addresses are kept: a row for each of a zone's ranges, free without an account."""

from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, TextClause, func, select, text

from arable.domain.access import Scope
from arable.domain.errors import NotFound, Stale
from arable.domain.ids import AccountId, AddressId, NetworkId, ZoneId
from arable.domain.network import Address
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.rows import raw, save_rows, stamp, stamped
from arable.store.scope import visible

_CHANGING = ("account", "network", "source_nat", "taken_at", "generation")
_COLUMNS = ("id", "zone", "range", "address", "number", *_CHANGING)
_SELECT = raw(t.address, _COLUMNS)
_held = attrgetter("account", "network", "source_nat")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressFilter:
    """Which taken addresses of a list."""

    account: AccountId | None = None
    zone: ZoneId | None = None
    network: NetworkId | None = None


def get(tx: Tx, scope: Scope, id_: AddressId, *, lock: bool = False) -> Address:
    """The address, if somebody has it and it is in sight; a free one belongs to nobody and is not found."""
    c = t.address.c
    query = _SELECT.where(c.id == id_, c.account.is_not(None), *visible(c.account, scope))
    row = tx.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound("there is no such public address")
    return _address(row)


def page(
    tx: Tx, scope: Scope, where: AddressFilter, *, after: str | None = None, limit: int = 100
) -> list[Address]:
    """Taken addresses, by key."""
    c = t.address.c
    conditions = [c.account.is_not(None), *visible(c.account, scope)]
    for column, value in (
        (c.account, where.account),
        (c.zone, where.zone),
        (c.network, where.network),
    ):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(c.id > after)
    return _all(tx, *conditions, limit=limit)


def of_network(tx: Tx, network: NetworkId) -> list[Address]:
    """A network's public addresses."""
    return _all(tx, t.address.c.network == network)


def count_of_network(tx: Tx, network: NetworkId) -> int:
    """How many of them."""
    query = select(func.count()).select_from(t.address).where(t.address.c.network == network)
    return tx.execute(query).scalar_one()


def take_free(tx: Tx, zone: ZoneId) -> Address | None:
    """The lowest free address of the zone, locked; the caller saves it with its owner. None: all are taken."""
    row = tx.execute(_free(tx.dialect.name), {"zone": zone}).first()
    if row is None:
        return None
    query = _SELECT.where(t.address.c.id == row.id)
    return _address(tx.execute(query).one())


def by_text(tx: Tx, zone: ZoneId, address: str) -> Address | None:
    """The row of an address of the zone, free or not, locked. For taking it, not for telling whose it is."""
    c = t.address.c
    query = _SELECT.where(c.zone == zone, c.address == address).with_for_update()
    row = tx.execute(query).first()
    return None if row is None else _address(row)


def save(tx: Tx, address: Address) -> None:
    """Keep the next generation of `address`, unless somebody got there first."""
    row = (
        *_held(address),
        stamp(address.taken_at),
        address.generation,
        address.id,
        address.generation - 1,
    )
    if save_rows(tx, t.address, _CHANGING, [row]) != 1:
        raise Stale("the public address changed meanwhile; read it again and decide anew")


@cache
def _free(dialect: str) -> TextClause:
    lock = "" if dialect == "sqlite" else "for update skip locked"
    return text(
        f"""
        select id from address where zone = :zone and account is null
        order by number limit 1 {lock}
        """  # noqa: S608 - a word of ours
    )


def _all(tx: Tx, *conditions: ColumnElement[bool], limit: int | None = None) -> list[Address]:
    query = _SELECT.where(*conditions).order_by(t.address.c.id).limit(limit)
    return [_address(row) for row in tx.execute(query)]


def _address(row: Any) -> Address:
    (id_, zone, range_, address, number, account, network, source_nat, taken_at, generation) = row
    return Address(
        id=id_,
        zone=zone,
        range=range_,
        address=address,
        number=number,
        account=account,
        network=network,
        source_nat=source_nat,
        taken_at=stamped(taken_at),
        generation=generation,
    )
