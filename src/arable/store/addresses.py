"""How public addresses are kept: a row for each of a zone's ranges.

An address has its owner's `account`. One that was released has none, but keeps its `network` until that network's
appliance answers for it no more (`let_go`); only then it is free.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, update

from arable.domain.access import Scope
from arable.domain.errors import NotFound, Stale
from arable.domain.ids import AccountId, AddressId, NetworkId, ZoneId
from arable.domain.network import Address
from arable.domain.usage import UsageKind
from arable.store import schema as t
from arable.store import usage_records
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import raw, save_rows, stamp, stamped
from arable.store.scope import visible

_CHANGING = ("account", "network", "name", "source_nat", "taken_at", "generation")
_COLUMNS = ("id", "zone", "range", "address", "number", *_CHANGING)
_SELECT = raw(t.address, _COLUMNS)
_held = attrgetter("account", "network", "name", "source_nat")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressFilter:
    """Which taken addresses of a list."""

    account: AccountId | None = None
    zone: ZoneId | None = None
    network: NetworkId | None = None
    address: str = ""
    name: str = ""


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
        (c.address, where.address),
        (c.name, where.name),
    ):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(c.id > after)
    return _all(tx, *conditions, limit=limit)


def of_networks(tx: Tx, networks: Iterable[NetworkId]) -> dict[NetworkId, list[Address]]:
    """Each network's public addresses, lowest first."""
    c = t.address.c
    query = _SELECT.where(among(tx, c.network, networks), c.account.is_not(None)).order_by(c.number)
    found: dict[NetworkId, list[Address]] = {}
    for row in tx.execute(query):
        address = _address(row)
        if address.network is not None:
            found.setdefault(address.network, []).append(address)
    return found


def take_free(tx: Tx, zone: ZoneId) -> Address | None:
    """The lowest free address of the zone, locked; the caller saves it with its owner. None: all are taken."""
    c = t.address.c
    query = (
        _SELECT.where(c.zone == zone, c.account.is_(None), c.network.is_(None))
        .order_by(c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = tx.execute(query).first()
    return None if row is None else _address(row)


def by_text(tx: Tx, zone: ZoneId, address: str) -> Address | None:
    """The row of an address of the zone, free or not, locked. For taking it, not for telling whose it is."""
    c = t.address.c
    query = _SELECT.where(c.zone == zone, c.address == address).with_for_update()
    row = tx.execute(query).first()
    return None if row is None else _address(row)


def named(tx: Tx, account: AccountId, zone: ZoneId, name: str) -> Address | None:
    """The address that the account calls so."""
    c = t.address.c
    found = _all(tx, c.account == account, c.zone == zone, c.name == name)
    return found[0] if found else None


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


def take(tx: Tx, address: Address, at: datetime) -> None:
    """`save` of one that has an owner from now on, or another network."""
    save(tx, address)
    usage_records.renew(tx, UsageKind.ADDRESS, [address.id], at)


def release(tx: Tx, address: Address, at: datetime) -> None:
    """Its owner has it no more."""
    save(tx, address.released())
    usage_records.end(tx, UsageKind.ADDRESS, [address.id], at)


def let_go(tx: Tx, networks: Iterable[NetworkId]) -> None:
    """Released addresses that the appliances of these networks answer for no more: now others may take them (rule 3)."""
    c = t.address.c
    free = update(t.address).where(among(tx, c.network, networks), c.account.is_(None))
    tx.execute(free.values(network=None))


def _all(tx: Tx, *conditions: ColumnElement[bool], limit: int | None = None) -> list[Address]:
    query = _SELECT.where(*conditions).order_by(t.address.c.id).limit(limit)
    return [_address(row) for row in tx.execute(query)]


def _address(row: Any) -> Address:
    (id_, zone, range_, address, number, account, network, name) = row[:8]
    (source_nat, taken_at, generation) = row[8:]
    return Address(
        id=id_,
        zone=zone,
        range=range_,
        address=address,
        number=number,
        account=account,
        network=network,
        name=name,
        source_nat=source_nat,
        taken_at=stamped(taken_at),
        generation=generation,
    )
