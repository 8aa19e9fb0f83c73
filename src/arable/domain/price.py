"""Prices: versions of one list, each valid from a moment until the next one's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from arable.domain.errors import BadInput
from arable.domain.usage import UsageKind

MICRO = 1_000_000
"""So many micro-units are one of the currency. Money is a whole number of them, or a fraction that was not shown yet."""
PLACES = 6
_AMOUNT = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """All prices that hold from `valid_from` until the next list's, by kind and offering (empty: all others).

    In micro-units for an hour; of volumes for a GiB and a month of 730 hours. What has no price costs nothing.
    """

    number: int
    valid_from: datetime
    currency: str
    prices: Mapping[tuple[UsageKind, str], int]
    user: str
    created_at: datetime

    def price(self, kind: UsageKind, offering: str) -> int:
        """Of one thing for its unit."""
        own = self.prices.get((kind, offering))
        return self.prices.get((kind, ""), 0) if own is None else own


def parsed(text: str, field: str) -> int:
    """Micro-units of an amount in decimals, such as `12.5`; raises `BadInput` when it has more places than those."""
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise BadInput(
            f"an amount is digits, with at most {PLACES} of them behind a point", field=field
        )
    sign, whole, part = found.groups(default="")
    micros = int(whole) * MICRO + int(part.ljust(PLACES, "0"))
    return -micros if sign else micros


def written(micros: int) -> str:
    """The other way round, with as many places as it needs, and at least two."""
    sign = "-" if micros < 0 else ""
    whole, part = divmod(abs(micros), MICRO)
    places = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{places}"
