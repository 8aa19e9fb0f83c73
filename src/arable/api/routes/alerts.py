"""Alerts, and whom to tell of them, over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import alert_routes, alerts
from arable.wire.alerts import AlertQuery, AlertRouteChange, AlertRouteIn, AlertRouteQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/alerts",
        does=alerts.page,
        permission=Permission.INFRA_READ,
        writes=False,
        query=AlertQuery,
        summary="List alerts, the newest first",
    ),
    Op(
        method="GET",
        path="/v1/alerts/{alert}",
        does=alerts.get,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show an alert",
    ),
    Op(
        method="POST",
        path="/v1/alerts/{alert}/acknowledge",
        does=alerts.acknowledge,
        permission=Permission.INFRA_WRITE,
        writes=True,
        conditions=False,
        summary="Say that one looks after an alert",
        about="It stays open until its cause has gone. Of several who say so, the first one counts.",
    ),
    Op(
        method="GET",
        path="/v1/alert-routes",
        does=alert_routes.page,
        permission=Permission.INFRA_READ,
        writes=False,
        query=AlertRouteQuery,
        summary="List alert routes",
    ),
    Op(
        method="POST",
        path="/v1/alert-routes",
        does=alert_routes.create,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=AlertRouteIn,
        status=201,
        secrets=("secret",),
        summary="Create an alert route",
        about=(
            "By mail, or by webhook. A webhook's notices are signed: the header `Arable-Signature` holds"
            " `t=SECONDS,v1=HEX`, the HMAC-SHA256 of `SECONDS.BODY` by the secret in this answer, which is shown this"
            " once. A notice may arrive twice, with the same id in `Arable-Delivery`."
        ),
        example={"name": "pager", "webhook": {"url": "https://pager.example.org/arable"}},
    ),
    Op(
        method="GET",
        path="/v1/alert-routes/{alertroute}",
        does=alert_routes.get,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show an alert route",
    ),
    Op(
        method="PATCH",
        path="/v1/alert-routes/{alertroute}",
        does=alert_routes.update,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=AlertRouteChange,
        summary="Change an alert route",
        example={"least": "critical"},
    ),
    Op(
        method="DELETE",
        path="/v1/alert-routes/{alertroute}",
        does=alert_routes.delete,
        permission=Permission.INFRA_WRITE,
        writes=True,
        status=204,
        summary="Delete an alert route, and what it was not told yet",
    ),
    Op(
        method="POST",
        path="/v1/alert-routes/{alertroute}/test",
        does=alert_routes.test,
        permission=Permission.INFRA_WRITE,
        writes=True,
        conditions=False,
        summary="Send a test notice by an alert route",
    ),
)
