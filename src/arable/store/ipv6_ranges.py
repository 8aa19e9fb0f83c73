"""How ranges of IPv6 are kept, and which of their /64 networks have. A network's row holds its own until the row goes."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, delete, func, select, update

from arable.domain.errors import Conflict, NoRoom, NotFound, Unavailable
from arable.domain.guest_ipv6 import FIRST, Ipv6Range, number_in, subnet, subnets
from arable.domain.ids import Ipv6RangeId, NetworkId, ZoneId
from arable.store import incarnations, kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import put_rows
from arable.store.zones import Use

WHAT = "IPv6 range"
_WINDOW = 256  # numbers that are looked at by one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeFilter:
    """Which ranges of a list."""

    zone: ZoneId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A /64 that is a network's from now on."""

    range: Ipv6RangeId
    number: int
    cidr: str


def add(tx: Tx, made: Ipv6Range) -> None:
    """Keep a range that meets no other."""
    kept.add(tx, t.ipv6_range, made)


def get(tx: Tx, range_: Ipv6RangeId) -> Ipv6Range:
    """Raises `NotFound`."""
    return kept.get(tx, t.ipv6_range, Ipv6Range, WHAT, t.ipv6_range.c.id == range_)


def page(
    tx: Tx, where: RangeFilter, *, after: str | None = None, limit: int = 100
) -> list[Ipv6Range]:
    """Ranges by age."""
    conditions: list[ColumnElement[bool]] = []
    if where.zone is not None:
        conditions.append(t.ipv6_range.c.zone == where.zone)
    return kept.page(tx, t.ipv6_range, Ipv6Range, conditions, after=after, limit=limit)


def every(tx: Tx) -> list[Ipv6Range]:
    """Those of all zones, of which there are few."""
    return [kept.value(Ipv6Range, row) for row in tx.execute(select(t.ipv6_range))]


def take(tx: Tx, zone: ZoneId) -> Taken:
    """A /64 of the zone's ranges that no network has; the ranges are held, so that two who take get two.

    Raises `Conflict` where the zone has no IPv6, `NoRoom` when all are taken, `Unavailable` while hosts have not said which
    ones they have, after an older database came back.
    """
    c = t.ipv6_range.c
    query = select(t.ipv6_range).where(c.zone == zone).order_by(c.id).with_for_update()
    there = [kept.value(Ipv6Range, row) for row in tx.execute(query)]
    if not there:
        raise Conflict("this zone has no IPv6: its operator has to add a range first", field="ipv6")
    if incarnations.taking_stock(tx):
        raise Unavailable(
            "the database was restored, and not every host has said yet which /64 it has: try again in a moment"
        )
    for found in there:
        number = _free(tx, found)
        if number is not None:
            tx.execute(update(t.ipv6_range).where(c.id == found.id).values(cursor=number + 1))
            return Taken(range=found.id, number=number, cidr=subnet(found.cidr, number))
    raise NoRoom("all /64 of this zone's IPv6 ranges are taken: ask the operator for another range")


def _free(tx: Tx, range_: Ipv6Range) -> int | None:
    """From the cursor on to the end, and from the beginning."""
    end = subnets(range_.cidr)
    n = t.network.c
    for begins, ends in ((range_.cursor, end), (FIRST, min(range_.cursor, end))):
        for first in range(begins, ends, _WINDOW):
            window = range(first, min(first + _WINDOW, ends))
            held = select(n.ipv6_number).where(
                n.ipv6_range == range_.id, n.ipv6_number.between(window.start, window.stop - 1)
            )
            taken = set(tx.scalars(held)) | set(tx.scalars(_barred(range_.id, window)))
            if len(taken) < len(window):
                return next(number for number in window if number not in taken)
    return None


def _barred(range_: Ipv6RangeId, window: range) -> Select[tuple[int]]:
    b = t.ipv6_barred.c
    within = b.number.between(window.start, window.stop - 1)
    return select(b.number).where(b.range == range_, within)


def bar(tx: Tx, zone: ZoneId, cidrs: Iterable[str]) -> list[str]:
    """Of these, which a host has, nobody gets those that no network has: it may be there until nobody knows when (rule 3)."""
    wanted = set(cidrs)
    if not wanted:
        return []
    c, n = t.ipv6_range.c, t.network.c
    wanted -= set(tx.scalars(select(n.ipv6_cidr).where(among(tx, n.ipv6_cidr, wanted))))
    rows = []
    for range_, whole in tx.execute(select(c.id, c.cidr).where(c.zone == zone)):
        numbers = {cidr: number_in(whole, cidr) for cidr in wanted}
        rows += [(range_, number, cidr) for cidr, number in numbers.items() if number is not None]
    rows.sort()
    keys = [(range_, number) for range_, number, _ in rows]
    put_rows(tx, t.ipv6_barred, ("range", "number"), keys, "do nothing")
    return [cidr for *_, cidr in rows]


def hold_machines(tx: Tx, network: NetworkId) -> None:
    """Before the network gets IPv6: machines first, then networks, as controllers hold them."""
    m = t.machine.c
    query = select(m.id).where(m.id.in_(_on(network))).order_by(m.id).with_for_update()
    tx.execute(query)


def wake_machines(tx: Tx, network: NetworkId) -> bool:
    """The hosts of a network's machines, and its router, are told of them anew; whether there are any."""
    m = t.machine.c
    there = (m.id.in_(_on(network)), m.wish.in_(("running", "stopped")))
    return bool(tx.execute(update(t.machine).where(*there).values(attention=True)).rowcount)


def _on(network: NetworkId) -> ColumnElement[str]:
    return select(t.nic.c.machine).where(t.nic.c.network == network).scalar_subquery()


def use(tx: Tx, ranges: Iterable[Ipv6Range]) -> dict[Ipv6RangeId, Use]:
    """How many /64 each has, and how many of them no network has."""
    n = t.network.c
    asked = {each.id: each for each in ranges}
    counted = (
        select(n.ipv6_range, func.count())
        .where(among(tx, n.ipv6_range, asked))
        .group_by(n.ipv6_range)
    )
    rows = tx.execute(counted).all()
    taken: dict[Ipv6RangeId | None, int] = dict(map(tuple, rows))
    b = t.ipv6_barred.c
    barred = select(b.range, func.count()).where(among(tx, b.range, asked)).group_by(b.range)
    for range_, count in tx.execute(barred):
        taken[range_] = taken.get(range_, 0) + count
    return {
        id_: Use(each.networks, each.networks - taken.get(id_, 0)) for id_, each in asked.items()
    }


def remove(tx: Tx, range_: Ipv6RangeId) -> None:
    """Remove a range; refused while a network has a /64 of it."""
    held = select(t.ipv6_range.c.id).where(t.ipv6_range.c.id == range_).with_for_update()
    if tx.execute(held).first() is None:
        raise NotFound(f"there is no such {WHAT}")
    if tx.execute(select(t.network.c.id).where(t.network.c.ipv6_range == range_).limit(1)).first():
        raise Conflict("networks have prefixes of it; they go when no host has anything of them")
    tx.execute(delete(t.ipv6_barred).where(t.ipv6_barred.c.range == range_))
    tx.execute(delete(t.ipv6_range).where(t.ipv6_range.c.id == range_))
