"""How ranges of public addresses are kept: the range, and a row for each of its addresses (`addresses.py` takes them)."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from sqlalchemy import ColumnElement, delete, func, insert, select

from arable.domain.errors import Conflict, NotFound
from arable.domain.ids import RangeId, ZoneId
from arable.domain.public_range import PublicRange
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.zones import Use

WHAT = "public range"


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeFilter:
    """Which ranges of a list."""

    zone: ZoneId | None = None


def add(tx: Tx, made: PublicRange, new_id: Callable[[str], str]) -> None:
    """A range that fits to the zone's others (the caller holds the zone's lock), with all its addresses."""
    kept.add(tx, t.public_range, made)
    tx.execute(
        insert(t.address),
        [
            {
                "id": new_id("address"),
                "zone": made.zone,
                "range": made.id,
                "address": str(IPv4Address(number)),
                "number": number,
            }
            for number in made.addresses()
        ],
    )


def get(tx: Tx, range_: RangeId) -> PublicRange:
    """Raises `NotFound`."""
    row = t.public_range.c
    return kept.get(tx, t.public_range, PublicRange, WHAT, row.id == range_)


def page(
    tx: Tx, where: RangeFilter, *, after: str | None = None, limit: int = 100
) -> list[PublicRange]:
    """Ranges by age."""
    conditions: list[ColumnElement[bool]] = []
    if where.zone is not None:
        conditions.append(t.public_range.c.zone == where.zone)
    return kept.page(tx, t.public_range, PublicRange, conditions, after=after, limit=limit)


def of_zone(tx: Tx, zone: ZoneId) -> list[PublicRange]:
    """All ranges of a zone."""
    query = select(t.public_range).where(t.public_range.c.zone == zone)
    return [kept.value(PublicRange, row) for row in tx.execute(query)]


def use(tx: Tx, *where: ColumnElement[bool]) -> Use:
    """How many addresses, and how many of them nobody has."""
    free = func.count().filter(t.address.c.account.is_(None))
    total, left = tx.execute(select(func.count(), free).where(*where)).one()
    return Use(total, left)


def use_of(tx: Tx, range_: RangeId) -> Use:
    """Of one range."""
    return use(tx, t.address.c.range == range_)


def use_in(tx: Tx, zone: ZoneId) -> Use:
    """Of all ranges of a zone."""
    return use(tx, t.address.c.zone == zone)


def remove(tx: Tx, range_: RangeId) -> None:
    """Remove a range with its addresses; refused while somebody has one of them."""
    row = t.address.c
    free = delete(t.address).where(row.range == range_, row.account.is_(None))
    tx.execute(free)
    if tx.execute(select(row.id).where(row.range == range_).limit(1)).first():
        raise Conflict("some of its addresses are taken")
    if tx.execute(delete(t.public_range).where(t.public_range.c.id == range_)).rowcount != 1:
        raise NotFound(f"there is no such {WHAT}")
