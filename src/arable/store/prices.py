"""How price lists are kept: a list that was made is never changed, and none begins in the past."""

from typing import Any

from sqlalchemy import func, insert, select

from arable.domain.price import PriceList
from arable.domain.usage import UsageKind
from arable.store import schema as t
from arable.store.database import Tx

_c = t.price_list.c


def every(tx: Tx) -> list[PriceList]:
    """All lists, in the order in which they were made. There are few."""
    return [_list(row) for row in tx.execute(select(t.price_list).order_by(_c.number))]


def page(tx: Tx, *, after: int = 0, limit: int = 100) -> list[PriceList]:
    """By number."""
    query = select(t.price_list).where(_c.number > after).order_by(_c.number).limit(limit)
    return [_list(row) for row in tx.execute(query)]


def next_number(tx: Tx) -> int:
    """That of the next list. Of two that are made at once one collides with the other, and is refused."""
    return int(tx.execute(select(func.coalesce(func.max(_c.number), 0))).scalar_one()) + 1


def add(tx: Tx, made: PriceList) -> None:
    """A new one."""
    prices = [
        [kind.value, offering, micros]
        for (kind, offering), micros in sorted(made.prices.items(), key=lambda item: item[0])
    ]
    tx.execute(
        insert(t.price_list).values(
            number=made.number,
            valid_from=made.valid_from,
            currency=made.currency,
            prices=prices,
            user=made.user,
            created_at=made.created_at,
        )
    )


def _list(row: Any) -> PriceList:
    return PriceList(
        number=row.number,
        valid_from=row.valid_from,
        currency=row.currency,
        prices={(UsageKind(kind), offering): micros for kind, offering, micros in row.prices},
        user=row.user,
        created_at=row.created_at,
    )
