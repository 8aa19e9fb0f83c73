"""Raises and ends alerts: what the watches find, against what is open. What it decides is `domain/alert.py`'s."""

from collections.abc import Sequence
from datetime import datetime

from arable.controllers.watches import WATCHES, Watch
from arable.domain.alert import Alert, AlertKind, Finding, Told, after
from arable.domain.event import Event
from arable.store import alert_routes, alerts, events
from arable.store.database import Tx

SECONDS = 10
"""Between looks; what has just been found nudges (`alerts.TOPIC`)."""


def watch(tx: Tx, at: datetime, watches: Sequence[Watch] = WATCHES) -> int:
    """One round; how many alerts were told of."""
    found: dict[tuple[AlertKind, str], Finding] = {}
    for each in (finding for look in watches for finding in look(tx, at)):
        key = (each.kind, each.subject)
        before = found.get(key)
        if before is None or not before.severity.at_least(each.severity):
            found[key] = each
    known = {(alert.kind, alert.subject): alert for alert in alerts.watched(tx)}
    return sum(_settle(tx, known.get(key), found.get(key), at) for key in sorted({*known, *found}))


def _settle(tx: Tx, now: Alert | None, finding: Finding | None, at: datetime) -> bool:
    alert, told = after(now, finding, at)
    if alert is None:
        if now is not None:
            alerts.remove(tx, now)
        return False
    if now is None:
        alerts.add(tx, alert)
    elif alert != now:
        alerts.change(tx, alert)
    if told is None:
        return False
    _tell(tx, alert, told, at)
    return True


def _tell(tx: Tx, alert: Alert, what: Told, at: datetime) -> None:
    over = "over: " if what is Told.ENDED else ""
    event = Event(
        at=at,
        account=None,
        kind=f"alert.{what}",
        subject=alert.id,
        text=f"{over}{alert.text}",
        data={"kind": alert.kind, "of": alert.subject, "severity": alert.severity},
    )
    events.add_many(tx, [event])
    alert_routes.tell(tx, alert, what, at)
