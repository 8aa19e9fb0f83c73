"""Room that is promised to orders: so much of a zone, until their farms' machines have it, or the promise runs out.

A promise is of the zone as a whole, not of hosts. Who places machines in a zone with promises holds their rows first, so
that two who place at a time do not both count on the same room; where nothing is promised that costs one look.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, func, insert, select, text, update

from arable.domain.ids import AccountId, FarmId, MachineId, OrderId, ZoneId
from arable.domain.order import Promise
from arable.store import kept
from arable.store import schema as t
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.many import among

_c = t.promise.c
_ANY = text("select 1 from promise where zone = :zone and until > :at limit 1")
_AMOUNTS = ("machines", "cpus", "cpu_mhz", "memory_mib")


class Taken(NamedTuple):
    """What machines of a farm found room for."""

    machines: int = 0
    cpus: int = 0
    cpu_mhz: int = 0
    memory_mib: int = 0


def put(tx: Tx, promise: Promise) -> None:
    """Instead of what was promised to this order before."""
    remove(tx, promise.order)
    tx.execute(insert(t.promise).values(**asdict(promise)))


def remove(tx: Tx, order: OrderId) -> None:
    """Nothing is promised to it any more."""
    tx.execute(delete(t.promise).where(_c.order == order))


def get(tx: Tx, order: OrderId, at: datetime) -> Promise | None:
    """What is promised to an order."""
    row = tx.execute(select(t.promise).where(_c.order == order, _c.until > at)).first()
    return None if row is None else kept.value(Promise, row)


def until(tx: Tx, orders: Iterable[OrderId]) -> dict[OrderId, datetime]:
    """For how long these orders are promised room, those that are."""
    query = select(_c.order, _c.until).where(among(tx, _c.order, orders))
    return {OrderId(order): until for order, until in tx.execute(query)}


def assign(tx: Tx, order: OrderId, farm: FarmId, until: datetime) -> None:
    """Machines of this farm take it from now on."""
    tx.execute(update(t.promise).where(_c.order == order).values(farm=farm, until=until))


def there(tx: Tx, zone: ZoneId, at: datetime) -> bool:
    """Whether anything of this zone is promised."""
    return tx.execute(_ANY, {"zone": zone, "at": micros(at)}).first() is not None


def of_zone(tx: Tx, zone: ZoneId, at: datetime, *, lock: bool = False) -> list[Promise]:
    """What is promised of a zone; locked, nobody else places there before this transaction ends."""
    query = select(t.promise).where(_c.zone == zone, _c.until > at).order_by(_c.order)
    rows = tx.execute(query.with_for_update() if lock else query)
    return [kept.value(Promise, row) for row in rows]


def of_account(tx: Tx, account: AccountId, but: OrderId, at: datetime) -> dict[str, int]:
    """What is promised to an account's other orders, summed up."""
    sums = (func.coalesce(func.sum(_c[name]), 0) for name in _AMOUNTS)
    where = (_c.account == account, _c.order != but, _c.until > at)
    row = tx.execute(select(*sums).where(*where)).one()
    return {name: int(value) for name, value in zip(_AMOUNTS, row, strict=True)}


def farms(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, FarmId]:
    """Whose these machines are."""
    machine = t.machine.c
    query = select(machine.id, machine.farm).where(among(tx, machine.id, machines))
    return {MachineId(id_): FarmId(farm) for id_, farm in tx.execute(query)}


def used(tx: Tx, taken: Mapping[OrderId, Taken]) -> None:
    """Machines that these were promised to have their room. Never less than nothing is left."""
    for order, amount in taken.items():
        left = {
            name: func.iif(_c[name] > value, _c[name] - value, 0)
            if tx.dialect.name == "sqlite"
            else func.greatest(_c[name] - value, 0)
            for name, value in amount._asdict().items()
        }
        tx.execute(update(t.promise).where(_c.order == order).values(**left))


def forget(tx: Tx, at: datetime) -> None:
    """Those that ran out."""
    tx.execute(delete(t.promise).where(_c.until <= at))
