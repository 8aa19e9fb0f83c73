"""Alert routes: by whom, and how, operators are told of alerts. The telling itself is `controllers/delivery.py`'s."""

import ipaddress
from dataclasses import replace
from typing import Any

import msgspec

from arable.domain.access import Permission
from arable.domain.alert import (
    Alert,
    AlertKind,
    AlertRoute,
    RouteKind,
    Security,
    Severity,
    Target,
    Told,
)
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import AlertId, AlertRouteId
from arable.runtime.sealed import seal
from arable.runtime.secret import Secret
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import alert_routes
from arable.wire.alerts import (
    AlertRouteChange,
    AlertRouteIn,
    AlertRouteOut,
    AlertRouteQuery,
    MailIn,
    NewAlertRouteOut,
    WebhookIn,
)
from arable.wire.common import Page

_PORTS = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}
_SECRET = 48  # characters of a webhook's


def create(call: Call, ask: AlertRouteIn) -> NewAlertRouteOut:
    """A new route. A webhook's secret is in this answer and nowhere else, a password nowhere at all."""
    call.caller.needs(Permission.INFRA_WRITE)
    kind, target, secret = _wanted(call, ask)
    if alert_routes.page(call.tx, ask.name, limit=1):
        raise Conflict(f"there is an alert route named {ask.name} already", field="name")
    id_ = AlertRouteId(call.around.ids.new("alertroute"))
    sealed = "" if secret is None else seal(call.around.authority, call.around.entropy, secret, id_)
    made = AlertRoute(
        id=id_,
        name=ask.name,
        kind=kind,
        target=target,
        sealed=sealed,
        least=Severity(ask.least),
        created_at=call.around.clock.now(),
    )
    alert_routes.add(call.tx, made)
    known = msgspec.structs.asdict(_out(made, 0))
    shown = secret.reveal() if secret is not None and kind is RouteKind.WEBHOOK else None
    return NewAlertRouteOut(**known, secret=shown)


def page(call: Call, query: AlertRouteQuery) -> Page[AlertRouteOut]:
    """Routes by age."""
    call.caller.needs(Permission.INFRA_READ)
    found = alert_routes.page(call.tx, query.name, after=query.after, limit=query.limit + 1)
    waiting = alert_routes.waiting(call.tx)
    return paged(found, query, lambda route: _out(route, waiting.get(route.id, 0)))


def get(call: Call, route: AlertRouteId) -> AlertRouteOut:
    """One."""
    call.caller.needs(Permission.INFRA_READ)
    return _now(call, route)


def update(call: Call, route: AlertRouteId, ask: AlertRouteChange) -> AlertRouteOut:
    """What is said is changed."""
    call.caller.needs(Permission.INFRA_WRITE)
    before = alert_routes.get(call.tx, route, lock=True)
    check_expected(call, before.generation, alert_routes.WHAT)
    said: dict[str, Any] = msgspec.to_builtins(ask)
    if "least" in said:
        said["least"] = Severity(said["least"])
    alert_routes.save(call.tx, replace(before, generation=before.generation + 1, **said))
    return _now(call, route)


def delete(call: Call, route: AlertRouteId) -> None:
    """It is told nothing more."""
    call.caller.needs(Permission.INFRA_WRITE)
    before = alert_routes.get(call.tx, route, lock=True)
    check_expected(call, before.generation, alert_routes.WHAT)
    alert_routes.remove(call.tx, before)


def test(call: Call, route: AlertRouteId) -> AlertRouteOut:
    """Tell it something, to see that it arrives."""
    call.caller.needs(Permission.INFRA_WRITE)
    known = alert_routes.get(call.tx, route)
    if not known.enabled:
        raise Conflict("this route is not enabled, so it is told nothing")
    at = call.around.clock.now()
    trial = Alert(
        id=AlertId(call.around.ids.new("alert")),
        kind=AlertKind.TEST,
        subject=route,
        name=known.name,
        severity=Severity.WARNING,
        text=f"{call.caller.name} wants to see whether this arrives; nothing is wrong",
        since=at,
        opened_at=at,
    )
    alert_routes.tell_one(call.tx, route, trial, Told.TEST, at)
    return _now(call, route)


def _wanted(call: Call, ask: AlertRouteIn) -> tuple[RouteKind, Target, Secret | None]:
    match ask.mail, ask.webhook:
        case MailIn() as mail, None:
            return RouteKind.MAIL, _mail(mail), Secret(mail.password) if mail.password else None
        case None, WebhookIn() as hook:
            _check_url(hook.url)
            secret = Secret(call.around.entropy.secret(_SECRET))
            return RouteKind.WEBHOOK, Target(url=hook.url), secret
        case None, None:
            raise BadInput("say where to: by mail or by webhook", field="mail")
        case _:
            raise BadInput("a route is either mail or a webhook; make two", field="webhook")


def _mail(mail: MailIn) -> Target:
    security = Security(mail.security)
    if security is Security.NONE and not _here(mail.server):
        raise BadInput("only to a server on the same machine", field="mail.security")
    if (mail.user is None) != (mail.password is None):
        missing = "password" if mail.password is None else "user"
        raise BadInput("a user needs a password, and a password a user", field=f"mail.{missing}")
    return Target(
        server=mail.server,
        port=mail.port or _PORTS[security],
        security=security,
        user=mail.user or "",
        sender=mail.sender,
        recipients=mail.recipients,
    )


def _check_url(url: str) -> None:
    import httpx  # late: 8 MB, which a server without webhooks is spared

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise BadInput(f"not a URL: {error}", field="webhook.url") from error
    if not parsed.host:
        raise BadInput("it names no host", field="webhook.url")
    if parsed.userinfo:
        raise BadInput(
            "no user and password within a URL; notices are signed instead", field="webhook.url"
        )
    if parsed.scheme == "http" and not _here(parsed.host):
        raise BadInput("https, but for a receiver on the same machine", field="webhook.url")


def _here(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _now(call: Call, route: AlertRouteId) -> AlertRouteOut:
    waiting = alert_routes.waiting(call.tx).get(route, 0)
    return _out(alert_routes.get(call.tx, route), waiting)


def _out(route: AlertRoute, waiting: int) -> AlertRouteOut:
    target = route.target
    if route.kind is RouteKind.WEBHOOK:
        shown = target.url
    else:
        shown = f"{', '.join(target.recipients)} by {target.server}:{target.port}"
        shown += "" if target.security is Security.NONE else f" ({target.security})"
    return AlertRouteOut(
        id=route.id,
        name=route.name,
        kind=route.kind.value,
        target=shown,
        least=route.least,
        enabled=route.enabled,
        waiting=waiting,
        failing_since=route.failing_since,
        told=route.told,
        delivered_at=route.delivered_at,
        generation=route.generation,
        created_at=route.created_at,
    )
