"""Who is told of alerts, and what they have not been told yet.

A delivery is written with what it tells, in one transaction, and goes when its receiver has it: whatever dies in
between, it is sent, perhaps twice, always under the same id.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import delete, func, insert, literal, select, update

from arable.domain.alert import Alert, AlertRoute, Delivery, Notice, Severity, Told, derived
from arable.domain.ids import AlertRouteId
from arable.store import kept
from arable.store import schema as t
from arable.store.columns import Moment
from arable.store.database import Tx
from arable.store.nudges import nudge

TOPIC = "alert-deliveries"
WHAT = "alert route"

_r = t.alert_route.c
_d = t.alert_delivery.c


def add(tx: Tx, route: AlertRoute) -> None:
    """A new one."""
    kept.add(tx, t.alert_route, route)


def get(tx: Tx, route: AlertRouteId, *, lock: bool = False) -> AlertRoute:
    """Raises `NotFound`."""
    return kept.get(tx, t.alert_route, AlertRoute, WHAT, _r.id == route, lock=lock)


def page(
    tx: Tx, name: str | None, *, after: str | None = None, limit: int = 100
) -> list[AlertRoute]:
    """By age."""
    where = [] if name is None else [_r.name == name]
    return kept.page(tx, t.alert_route, AlertRoute, where, after=after, limit=limit)


def save(tx: Tx, route: AlertRoute) -> None:
    """Its next generation."""
    kept.save(tx, t.alert_route, route, WHAT)


def remove(tx: Tx, route: AlertRoute) -> None:
    """It is told nothing more, not even what waits."""
    tx.execute(delete(t.alert_delivery).where(_d.route == route.id))
    kept.forget(tx, t.alert_route, route, WHAT)


def waiting(tx: Tx) -> dict[AlertRouteId, int]:
    """How many deliveries wait, by route."""
    query = select(_d.route, func.count()).group_by(_d.route)
    return {row[0]: row[1] for row in tx.execute(query)}


# --- deliveries ---------------------------------------------------------------------------------------------------


def tell(tx: Tx, alert: Alert, what: Told, at: datetime) -> int:
    """All routes that want to hear of it will; how many."""
    routes = [
        AlertRouteId(id_)
        for id_, least in tx.execute(select(_r.id, _r.least).where(_r.enabled))
        if alert.severity.at_least(Severity(least))
    ]
    for route in routes:
        tell_one(tx, route, alert, what, at)
    return len(routes)


def tell_one(tx: Tx, route: AlertRouteId, alert: Alert, what: Told, at: datetime) -> None:
    """The one route will hear of it."""
    id_ = derived("delivery", at, route, alert.id, what)
    notice = Notice(id=id_, what=what, at=at, alert=alert)
    tx.execute(
        insert(t.alert_delivery).values(
            id=id_, route=route, notice=msgspec.to_builtins(notice), next_at=at, created_at=at
        )
    )
    nudge(tx, TOPIC)


def due(tx: Tx, at: datetime, limit: int) -> list[tuple[AlertRoute, list[Delivery]]]:
    """What should be sent now: for each route the oldest of what is due."""
    rows = tx.execute(
        select(t.alert_delivery)
        .join(t.alert_route, _r.id == _d.route)
        .where(_d.next_at <= at, _r.enabled)
        .order_by(_d.id)
        .limit(limit)
    ).all()
    if not rows:
        return []
    found: dict[str, list[Delivery]] = {}
    for row in rows:
        found.setdefault(row.route, []).append(kept.value(Delivery, row))
    routes = tx.execute(select(t.alert_route).where(_r.id.in_(sorted(found))))
    return [(kept.value(AlertRoute, row), found[row.id]) for row in routes]


def delivered(tx: Tx, route: AlertRouteId, done: Sequence[Delivery], at: datetime) -> None:
    """The receiver has these."""
    tx.execute(delete(t.alert_delivery).where(_d.id.in_([each.id for each in done])))
    tx.execute(
        update(t.alert_route)
        .where(_r.id == route)
        .values(told="", failing_since=None, delivered_at=at)
    )


def failed(
    tx: Tx,
    route: AlertRouteId,
    what: Sequence[Delivery],
    told: str,
    at: datetime,
    next_at: datetime,
) -> None:
    """These are tried again at `next_at`."""
    tx.execute(
        update(t.alert_delivery)
        .where(_d.id.in_([each.id for each in what]))
        .values(tries=_d.tries + 1, next_at=next_at)
    )
    tx.execute(
        update(t.alert_route)
        .where(_r.id == route)
        .values(told=told, failing_since=func.coalesce(_r.failing_since, literal(at, Moment)))
    )


def given_up(tx: Tx, what: Sequence[Delivery]) -> None:
    """These are not tried any more."""
    tx.execute(delete(t.alert_delivery).where(_d.id.in_([each.id for each in what])))
