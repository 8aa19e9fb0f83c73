"""How orders are kept, and which of them wait for something that can be done."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import or_, select

from arable.domain.access import Scope
from arable.domain.ids import AccountId, OrderId
from arable.domain.order import Order
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.scope import visible

WHAT = "order"
TOPIC = "orders"
"""Whoever brings orders further listens to it."""

_c, _o = t.farm_order.c, t.operation.c
# What waits for a person, or for elements, is no work.
_OPEN = (
    select(t.farm_order)
    .outerjoin(t.operation, _o.id == _c.work)
    .where(
        _c.ended_at.is_(None),
        or_(
            _c.state.in_(["queued", "approved"]),
            (_c.state == "provisioning") & _o.state.is_distinct_from("running"),
        ),
    )
    .order_by(_c.id)
    .with_for_update(of=t.farm_order)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Which orders of a list."""

    account: AccountId | None = None
    farm: str | None = None
    states: Iterable[str] = ()


def get(tx: Tx, scope: Scope, order: OrderId, *, lock: bool = False) -> Order:
    """The order, if it is there and in sight. Raises `NotFound`."""
    where = (_c.id == order, *visible(_c.account, scope))
    return kept.get(tx, t.farm_order, Order, WHAT, *where, lock=lock)


def page(
    tx: Tx, scope: Scope, where: OrderFilter, *, after: str | None = None, limit: int = 100
) -> list[Order]:
    """By age."""
    conditions = visible(_c.account, scope)
    if where.account is not None:
        conditions.append(_c.account == where.account)
    if where.farm is not None:
        conditions.append(_c.farm == where.farm)
    if states := sorted(where.states):
        conditions.append(_c.state.in_(states))
    return kept.page(tx, t.farm_order, Order, conditions, after=after, limit=limit)


def add(tx: Tx, order: Order) -> None:
    """A new one, which is to be evaluated."""
    kept.add(tx, t.farm_order, order)
    nudge(tx, TOPIC)


def save(tx: Tx, order: Order) -> None:
    """The next generation; raises `Stale` when somebody got there first."""
    kept.save(tx, t.farm_order, order, WHAT)
    nudge(tx, TOPIC)


def waiting(tx: Tx, limit: int) -> list[Order]:
    """The oldest with which something can be done now, locked; by account, as accounts' limits are held in that order."""
    found = [kept.value(Order, row) for row in tx.execute(_OPEN.limit(limit))]
    return sorted(found, key=lambda order: (order.account, order.id))


def committed(tx: Tx, account: AccountId) -> int:
    """What the account's orders that are being provisioned cost for an hour, in micro-units."""
    query = select(_c.estimate).where(_c.account == account, _c.state == "provisioning")
    return sum(int(estimate["least"]) for estimate in tx.scalars(query))
