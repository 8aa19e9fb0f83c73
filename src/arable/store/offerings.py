"""How offerings and disk offerings are kept."""

from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import ColumnElement, Table, exists, select

from arable.domain.errors import Conflict
from arable.domain.ids import DiskOfferingId, OfferingId
from arable.domain.offering import DiskOffering, Offering
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx

WHAT, DISK = "offering", "disk offering"

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferingFilter:
    """Which offerings of a list, of either kind. `disabled`: those too that nothing can be made of."""

    name: str | None = None
    enabled: bool | None = None
    disabled: bool = False


def add(tx: Tx, offering: Offering) -> None:
    """A new offering; its name must be free."""
    check_name(tx, offering.name)
    kept.add(tx, t.offering, offering)


def get(tx: Tx, offering: OfferingId, *, lock: bool = False) -> Offering:
    """Raises `NotFound`."""
    return kept.get(tx, t.offering, Offering, WHAT, t.offering.c.id == offering, lock=lock)


def by_name(tx: Tx, name: str) -> Offering:
    """Raises `NotFound`."""
    return kept.get(tx, t.offering, Offering, WHAT, t.offering.c.name == name)


def page(
    tx: Tx, where: OfferingFilter, *, after: str | None = None, limit: int = 100
) -> list[Offering]:
    """Offerings by age."""
    return _page(tx, t.offering, Offering, where, after, limit)


def save(tx: Tx, offering: Offering) -> None:
    """The next generation."""
    kept.save(tx, t.offering, offering, WHAT)


def remove(tx: Tx, offering: Offering) -> None:
    """Remove an offering that no machine was made of."""
    if tx.execute(select(exists().where(t.machine.c.offering == offering.id))).scalar():
        raise Conflict("machines were made of this offering; disable it instead")
    kept.forget(tx, t.offering, offering, WHAT)


def add_disk(tx: Tx, offering: DiskOffering) -> None:
    """A new disk offering; its name must be free."""
    check_disk_name(tx, offering.name)
    kept.add(tx, t.disk_offering, offering)


def get_disk(tx: Tx, offering: DiskOfferingId, *, lock: bool = False) -> DiskOffering:
    """Raises `NotFound`."""
    row = t.disk_offering.c
    return kept.get(tx, t.disk_offering, DiskOffering, DISK, row.id == offering, lock=lock)


def page_disks(
    tx: Tx, where: OfferingFilter, *, after: str | None = None, limit: int = 100
) -> list[DiskOffering]:
    """Disk offerings by age."""
    return _page(tx, t.disk_offering, DiskOffering, where, after, limit)


def save_disk(tx: Tx, offering: DiskOffering) -> None:
    """The next generation."""
    kept.save(tx, t.disk_offering, offering, DISK)


def remove_disk(tx: Tx, offering: DiskOffering) -> None:
    """Remove a disk offering. Volumes took its size and limits over when they were made."""
    kept.forget(tx, t.disk_offering, offering, DISK)


def check_name(tx: Tx, name: str) -> None:
    """Raises `Conflict` when an offering has that name."""
    _check_name(tx, t.offering, name, WHAT)


def check_disk_name(tx: Tx, name: str) -> None:
    """Raises `Conflict` when a disk offering has that name."""
    _check_name(tx, t.disk_offering, name, DISK)


def _check_name(tx: Tx, table: Table, name: str, what: str) -> None:
    if tx.execute(select(table.c.id).where(table.c.name == name)).first():
        raise Conflict(f"there is a {what} named {name} already", field="name")


def _page(
    tx: Tx, table: Table, kind: type[V], where: OfferingFilter, after: str | None, limit: int
) -> list[V]:
    conditions: list[ColumnElement[bool]] = []
    if where.name is not None:
        conditions.append(table.c.name == where.name)
    if where.enabled is not None:
        conditions.append(table.c.enabled == where.enabled)
    if not where.disabled:
        conditions.append(table.c.enabled)
    return kept.page(tx, table, kind, conditions, after=after, limit=limit)


def names(tx: Tx) -> dict[str, str]:
    """What all offerings and disk offerings are called, by id."""
    return {
        row.id: row.name
        for table in (t.offering, t.disk_offering)
        for row in tx.execute(select(table.c.id, table.c.name))
    }


def find(tx: Tx, ref: str, *, disks: bool) -> str | None:
    """The id of an offering, or of a disk offering, by id or name, for sale or not; None: there is none."""
    row = (t.disk_offering if disks else t.offering).c
    query = select(row.id).where((row.id == ref) | (row.name == ref)).limit(1)
    found: str | None = tx.execute(query).scalar()
    return found
