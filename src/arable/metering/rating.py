"""Usage and prices in, a bill out.

A bill is additive: the bill of a period is the sum of the bills of its parts, wherever it is cut, since quantities are
whole numbers and sums are fractions. Only what is shown is rounded, to a millionth of the currency, half to even.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from arable.domain.price import PriceList
from arable.domain.usage import UsageKind, Used

HOUR = 3_600_000_000
"""Microseconds."""
MONTH_HOURS = 730
_GIB = 1024  # of volumes' MiB

UNIT = dict.fromkeys(UsageKind, HOUR) | {UsageKind.VOLUME: MONTH_HOURS * HOUR * _GIB}
"""How much of a quantity the price is for: microseconds, of volumes times MiB."""

Key = tuple[UsageKind, str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """So much of a kind, by an offering, in a farm, at one price. `price` is in micro-units for a `UNIT`."""

    kind: UsageKind
    offering: str
    farm: str
    farm_name: str
    price: int
    quantity: int

    @property
    def key(self) -> Key:
        """Lines of one key are one line."""
        return (self.kind, self.offering, self.farm, self.price)

    @property
    def amount(self) -> Fraction:
        """What it costs, in micro-units; not rounded."""
        return Fraction(self.quantity * self.price, UNIT[self.kind])

    @property
    def units(self) -> Fraction:
        """The quantity as people say it: hours, or GiB-months."""
        return Fraction(self.quantity, UNIT[self.kind])


def in_force(lists: Iterable[PriceList], at: datetime) -> PriceList | None:
    """The list that holds at a moment: of those that are valid the latest, and of these the last one made."""
    valid = [each for each in lists if each.valid_from <= at]
    return max(valid, key=lambda each: (each.valid_from, each.number)) if valid else None


def periods(
    lists: Sequence[PriceList], since: datetime, until: datetime
) -> list[tuple[datetime, datetime, PriceList | None]]:
    """A period in parts in each of which one list holds; none of them is empty."""
    cuts = sorted({each.valid_from for each in lists if since < each.valid_from < until})
    edges = [since, *cuts, until]
    return [
        (begin, end, in_force(lists, begin))
        for begin, end in itertools.pairwise(edges)
        if begin < end
    ]


def rated(used: Iterable[Used], prices: PriceList | None) -> list[Line]:
    """What was used while a list held."""
    return summed(
        Line(
            kind=each.kind,
            offering=each.offering,
            farm=each.farm,
            farm_name=each.farm_name,
            price=prices.price(each.kind, each.offering) if prices else 0,
            quantity=each.micros * (each.mib if each.kind is UsageKind.VOLUME else 1),
        )
        for each in used
        if each.micros
    )


def summed(lines: Iterable[Line]) -> list[Line]:
    """Lines of one key as one, in order."""
    found: dict[Key, Line] = {}
    for line in lines:
        before = found.get(line.key)
        found[line.key] = (
            line
            if before is None
            else replace(
                before,
                quantity=before.quantity + line.quantity,
                farm_name=max(before.farm_name, line.farm_name),
            )
        )
    return [found[key] for key in sorted(found)]


def total(lines: Iterable[Line]) -> Fraction:
    """What they cost together, in micro-units; not rounded."""
    return sum((line.amount for line in lines), Fraction())


def estimate(wanted: Mapping[tuple[UsageKind, str], int], prices: PriceList | None) -> Fraction:
    """What so much of everything costs for an hour, in micro-units. Volumes are counted in MiB."""
    if prices is None:
        return Fraction()
    return sum(
        (
            Fraction(count * prices.price(kind, offering) * HOUR, UNIT[kind])
            for (kind, offering), count in wanted.items()
        ),
        Fraction(),
    )
