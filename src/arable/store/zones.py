"""How zones and their VLANs or VNIs are kept. One of the guest range is a row, taken by a network (`vlans.py`)."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, insert, select, text

from arable.domain.errors import Conflict
from arable.domain.ids import ZoneId
from arable.domain.zone import Tags, Zone
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx

WHAT = "zone"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneFilter:
    """Which zones of a list."""

    name: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """How many there are of something, and how many are free."""

    total: int
    free: int


def add(tx: Tx, zone: Zone) -> None:
    """A new zone; its name must be free."""
    check_name(tx, zone.name)
    kept.add(tx, t.zone, zone)


def check_name(tx: Tx, name: str) -> None:
    """Raises `Conflict` when a zone has that name."""
    if tx.execute(select(t.zone.c.id).where(t.zone.c.name == name)).first():
        raise Conflict(f"there is a zone named {name} already", field="name")


def get(tx: Tx, zone: ZoneId, *, lock: bool = False) -> Zone:
    """Raises `NotFound`. Whoever changes what a zone consists of locks it, so that such changes wait for each other."""
    return kept.get(tx, t.zone, Zone, WHAT, t.zone.c.id == zone, lock=lock)


def page(tx: Tx, where: ZoneFilter, *, after: str | None = None, limit: int = 100) -> list[Zone]:
    """Zones by age."""
    conditions: list[ColumnElement[bool]] = []
    if where.name is not None:
        conditions.append(t.zone.c.name == where.name)
    if where.enabled is not None:
        conditions.append(t.zone.c.enabled == where.enabled)
    return kept.page(tx, t.zone, Zone, conditions, after=after, limit=limit)


def save(tx: Tx, zone: Zone) -> None:
    """The next generation."""
    kept.save(tx, t.zone, zone, WHAT)


def remove(tx: Tx, zone: Zone) -> None:
    """Remove a zone (locked by the caller) with its VLANs; refused while anything is in it."""
    for table, what in (
        (t.pod, "pods"),
        (t.public_range, "public ranges"),
        (t.network, "networks"),
        (t.machine, "machines"),
        (t.volume, "volumes"),
        (t.pool, "storage pools"),
    ):
        if tx.execute(select(exists().where(table.c.zone == zone.id))).scalar():
            raise Conflict(f"the zone is not empty: there are {what} in it")
    tx.execute(delete(t.farm).where(t.farm.c.zone == zone.id))
    tx.execute(delete(t.vlan).where(t.vlan.c.zone == zone.id))
    kept.forget(tx, t.zone, zone, WHAT)


def add_tags(tx: Tx, zone: ZoneId, tags: Tags) -> None:
    """More VLANs, or VNIs, for guest networks."""
    rows: list[dict[str, Any]] = [
        {"zone": zone, "tag": tag} for tag in range(tags.first, tags.last + 1)
    ]
    tx.execute(insert(t.vlan), rows)


_RUNS = text("""
    select min(tag), max(tag) from (
        select tag, tag - row_number() over (order by tag) as run from vlan where zone = :zone
    ) as t group by run order by 1
""")


def tags(tx: Tx, zone: ZoneId) -> tuple[Tags, ...]:
    """The guest VLANs, or VNIs, that a zone has, free or not, as the fewest runs."""
    return tuple(Tags(int(first), int(last)) for first, last in tx.execute(_RUNS, {"zone": zone}))


def vlan_use(tx: Tx, zone: ZoneId) -> Use:
    """How many guest VLANs, and how many of them a new network could take."""
    row = t.vlan.c
    free = func.count().filter(row.network.is_(None), ~row.leaving)
    total, left = tx.execute(select(func.count(), free).where(row.zone == zone)).one()
    return Use(total, left)
