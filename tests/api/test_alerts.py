"""Alerts and their routes, as an operator asks for them."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from arable.client.arable import Arable
from arable.client.errors import BadInput, Conflict, Forbidden, Stale
from arable.runtime.clock import VirtualClock
from arable.store import schema as t
from arable.wire.alerts import (
    AlertQuery,
    AlertRouteChange,
    AlertRouteIn,
    AlertRouteQuery,
    MailIn,
    WebhookIn,
)
from everything_kept import everything_kept
from serving import Served

NOW = VirtualClock().now()
HOOK = WebhookIn(url="https://pager.example.org/arable")
MAIL: dict[str, Any] = {
    "server": "mail.example.org",
    "sender": "arable@example.org",
    "recipients": ("ops@example.org",),
}


def alert(served: Served, name: str, **but: Any) -> str:
    id_ = served.around.ids.new("alert")
    usual = {
        "kind": "host-silent",
        "subject": f"host-{name}",
        "name": name,
        "severity": "warning",
        "text": f"host {name} was not heard",
        "since": NOW,
        "opened_at": NOW,
    }
    with served.database.write() as tx:
        tx.execute(t.alert.insert().values(id=id_, **usual | but))
    return id_


def test_the_newest_alerts_come_first_and_unopened_ones_not_at_all(served_both: Served) -> None:
    cloud = served_both.operator
    first = alert(served_both, "a", until=NOW)
    second = alert(served_both, "b", severity="critical")
    third = alert(served_both, "c")
    alert(served_both, "d", opened_at=None)
    assert [each.id for each in cloud.alerts.all()] == sorted([first, second, third], reverse=True)
    assert [each.id for each in cloud.alerts.all(AlertQuery(limit=1))] == [
        each.id for each in cloud.alerts.all()
    ]
    assert {each.id for each in cloud.alerts.all(AlertQuery(state="open"))} == {second, third}
    assert [each.id for each in cloud.alerts.all(AlertQuery(severity="critical"))] == [second]
    assert [each.id for each in cloud.alerts.all(AlertQuery(subject="host-c"))] == [third]


def test_the_first_who_acknowledges_looks_after_it(served: Served) -> None:
    cloud = served.operator
    id_ = alert(served, "a")
    first = cloud.alerts.acknowledge(id_)
    again = cloud.alerts.acknowledge(id_)
    assert first.acknowledged_by == again.acknowledged_by == served.first.name
    assert first.acknowledged_at == again.acknowledged_at
    from arable.wire.events import EventQuery

    told = [each.subject for each in cloud.events.all(EventQuery(kind="alert"))]
    assert told == [id_]
    over = alert(served, "b", until=NOW + timedelta(hours=1))
    with pytest.raises(Conflict):
        cloud.alerts.acknowledge(over)


def test_a_webhook_s_secret_is_told_once(served: Served) -> None:
    cloud = served.operator
    ask = AlertRouteIn(name="pager", webhook=HOOK)
    made = cloud.alert_routes.create(ask, idempotency_key="k1")
    assert made.secret
    assert cloud.alert_routes.create(ask, idempotency_key="k1").secret is None
    assert not hasattr(cloud.alert_routes.get(made.id), "secret")
    kept = str(everything_kept(served.database, but=()))
    assert made.secret not in kept
    assert (made.kind, made.target) == ("webhook", HOOK.url)


def test_a_password_is_never_told(served: Served) -> None:
    cloud = served.operator
    mail = MailIn(**MAIL, user="arable", password="the mail account's")
    made = cloud.alert_routes.create(AlertRouteIn(name="ops", mail=mail))
    assert made.secret is None
    assert made.target == "ops@example.org by mail.example.org:587 (starttls)"
    assert "the mail account's" not in str(everything_kept(served.database, but=()))
    assert "the mail account's" not in str([msgspec.to_builtins(each) for each in cloud.alert_routes.all()])  # fmt: skip


@pytest.mark.parametrize(
    ("field", "ask"),
    [
        ("mail", {}),
        ("webhook", {"webhook": HOOK, "mail": MailIn(**MAIL)}),
        ("webhook.url", {"webhook": WebhookIn(url="http://pager.example.org/")}),
        ("webhook.url", {"webhook": WebhookIn(url="http://127.0.0.1.example.org/")}),
        ("webhook.url", {"webhook": WebhookIn(url="https://me:secret@pager.example.org/")}),
        ("webhook.url", {"webhook": WebhookIn(url="https:///path")}),
        ("webhook.url", {"webhook": WebhookIn(url="ftp://pager.example.org/")}),
        ("webhook.url", {"webhook": WebhookIn(url="https://a b/")}),
        ("mail.security", {"mail": MailIn(**MAIL, security="none")}),
        ("mail.password", {"mail": MailIn(**MAIL, user="me")}),
        ("mail.user", {"mail": MailIn(**MAIL, password="secret")}),
        ("mail.server", {"mail": MailIn(**MAIL | {"server": "mail.example.org\r\nRCPT"})}),
        ("mail.sender", {"mail": MailIn(**MAIL | {"sender": "a@b\nBcc: all@example.org"})}),
        ("mail.recipients[...]", {"mail": MailIn(**MAIL | {"recipients": ("no address",)})}),
        ("mail.recipients", {"mail": MailIn(**MAIL | {"recipients": ()})}),
        ("mail.port", {"mail": MailIn(**MAIL, port=0)}),
    ],
)
def test_a_route_that_can_t_be_or_must_not_be_is_refused(
    served: Served, field: str, ask: dict[str, Any]
) -> None:
    before = everything_kept(served.database)
    with pytest.raises(BadInput) as refused:
        served.operator.alert_routes.create(AlertRouteIn(name="odd", **ask))
    named = refused.value.problem.errors[0].field
    assert named.startswith(field.partition("[")[0]), named
    assert everything_kept(served.database) == before


def test_a_plain_receiver_on_this_machine_will_do(served: Served) -> None:
    for at, host in enumerate(("127.0.0.1", "localhost", "[::1]")):
        hook = WebhookIn(url=f"http://{host}:8080/x")
        served.operator.alert_routes.create(AlertRouteIn(name=f"h{at}", webhook=hook))
    mail = MailIn(**MAIL | {"server": "127.0.0.1"}, security="none")
    made = served.operator.alert_routes.create(AlertRouteIn(name="m", mail=mail))
    assert made.target == "ops@example.org by 127.0.0.1:25"


def test_a_route_can_be_tested_changed_switched_off_and_deleted(served_both: Served) -> None:
    routes = served_both.operator.alert_routes
    made = routes.create(AlertRouteIn(name="pager", webhook=HOOK))
    with pytest.raises(Conflict):
        routes.create(AlertRouteIn(name="pager", webhook=HOOK))
    assert routes.test(made.id).waiting == 1
    changed = routes.update(made.id, AlertRouteChange(least="critical"), expects=made.generation)
    assert (changed.least, changed.enabled, changed.generation) == ("critical", True, 2)
    with pytest.raises(Stale):
        routes.update(made.id, AlertRouteChange(enabled=False), expects=made.generation)
    routes.update(made.id, AlertRouteChange(enabled=False))
    with pytest.raises(Conflict):
        routes.test(made.id)
    assert [each.id for each in routes.all(AlertRouteQuery(name="pager"))] == [made.id]
    routes.delete(made.id)
    assert list(routes.all()) == []
    assert "delivery-" not in str(everything_kept(served_both.database, but=("audit",)))


def test_customers_know_nothing_of_alerts(served: Served) -> None:
    id_ = alert(served, "a")
    ann: Arable = served.customer("ann")
    for ask in (
        lambda: list(ann.alerts.all()),
        lambda: ann.alerts.get(id_),
        lambda: ann.alerts.acknowledge(id_),
        lambda: list(ann.alert_routes.all()),
        lambda: ann.alert_routes.create(AlertRouteIn(name="x", webhook=HOOK)),
    ):
        with pytest.raises(Forbidden):
            ask()
