"""Alerts: what an operator may ask of them. They come and go by themselves."""

from arable.domain.access import Permission
from arable.domain.alert import Alert
from arable.domain.errors import Conflict
from arable.domain.event import Event
from arable.domain.ids import AlertId
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import alerts, events
from arable.store.alerts import AlertFilter
from arable.wire.alerts import AlertOut, AlertQuery
from arable.wire.common import Page


def page(call: Call, query: AlertQuery) -> Page[AlertOut]:
    """The newest first."""
    call.caller.needs(Permission.INFRA_READ)
    where = AlertFilter(
        is_open=None if query.state is None else query.state == "open",
        kind=query.kind,
        severity=query.severity,
        subject=query.subject,
    )
    found = alerts.page(call.tx, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, _out)


def get(call: Call, alert: AlertId) -> AlertOut:
    """One."""
    call.caller.needs(Permission.INFRA_READ)
    return _out(alerts.get(call.tx, alert))


def acknowledge(call: Call, alert: AlertId) -> AlertOut:
    """The caller looks after it; of several who say so, the first one does."""
    call.caller.needs(Permission.INFRA_WRITE)
    before = alerts.get(call.tx, alert)
    if before.until is not None:
        raise Conflict("this alert has ended by itself")
    at = call.around.clock.now()
    alerts.acknowledge(call.tx, alert, call.caller.name, at)
    after = alerts.get(call.tx, alert)
    if before.acknowledged_at is None:
        text = f"{after.acknowledged_by} looks after it: {after.text}"
        kind = "alert.acknowledged"
        events.add_many(call.tx, [Event(at=at, account=None, kind=kind, subject=alert, text=text)])
    return _out(after)


def _out(alert: Alert) -> AlertOut:
    return AlertOut(
        id=alert.id,
        kind=alert.kind,
        subject=alert.subject,
        name=alert.name,
        severity=alert.severity,
        state="ended" if alert.until else "open",
        text=alert.text,
        since=alert.since,
        until=alert.until,
        flaps=alert.flaps,
        acknowledged_at=alert.acknowledged_at,
        acknowledged_by=alert.acknowledged_by,
    )
