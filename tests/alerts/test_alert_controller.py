"""From the store's state to alerts, events and what routes are owed."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from arable.controllers import alerts as controller
from arable.domain.access import EVERYTHING
from arable.domain.alert import AlertKind, Finding, Severity
from arable.runtime.clock import VirtualClock
from arable.services import housekeeping
from arable.store import alert_routes, alerts, events
from arable.store import schema as t
from arable.store.alerts import AlertFilter
from arable.store.database import Database
from arable.store.events import EventFilter

NOW = VirtualClock().now()
MINUTE = timedelta(minutes=1)


class Cloud:
    """Rows, and a controller that looks at them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = VirtualClock(NOW)
        self.add(t.zone, id="zone-1", name="north")
        self.add(t.pod, id="pod-1", zone="zone-1", name="a", cidr="10.0.0.0/24")

    def add(self, table: Any, **row: Any) -> None:
        dated = {"created_at": NOW} if "created_at" in table.c else {}
        with self.database.write() as tx:
            tx.execute(table.insert().values(**(dated | row)))

    def set(self, table: Any, id_: str, **row: Any) -> None:
        with self.database.write() as tx:
            tx.execute(table.update().where(table.c.id == id_).values(**row))

    def host(self, name: str, **but: Any) -> str:
        usual = {"state": "up", "cpus": 8, "cpu_mhz": 8000, "memory_mib": 1000, "disk_mib": 1000}
        id_ = f"host-{name}"
        self.add(t.host, id=id_, zone="zone-1", pod="pod-1", name=name, seen_at=NOW, **usual | but)
        return id_

    def route(self, name: str, least: str = "warning", *, enabled: bool = True) -> None:
        target = {"url": f"https://{name}/"}
        self.add(t.alert_route, id=f"alertroute-{name}", name=name, kind="webhook", target=target, least=least, enabled=enabled)  # fmt: skip

    def look(self, *, after: timedelta = timedelta(0)) -> None:
        self.clock.wait(after)
        with self.database.write() as tx:
            controller.watch(tx, self.clock.now())

    def open(self) -> dict[tuple[str, str], tuple[str, str]]:
        with self.database.read() as tx:
            found = alerts.page(tx, AlertFilter(is_open=True))
        return {(a.kind.value, a.subject): (a.severity.value, a.text) for a in found}

    def events(self) -> list[str]:
        with self.database.read() as tx:
            return [each.kind for each in events.page(tx, EVERYTHING, EventFilter(kind="alert"))]

    def owed(self) -> dict[str, list[str]]:
        with self.database.read() as tx:
            due = alert_routes.due(tx, self.clock.now(), 100)
        return {r.name: [d.notice.what.value for d in deliveries] for r, deliveries in due}


@pytest.fixture
def cloud(database) -> Iterator[Cloud]:
    return Cloud(database)


def test_a_silent_host_is_an_alert_until_it_is_heard_again(cloud: Cloud) -> None:
    host = cloud.host("a1")
    cloud.look()
    assert cloud.open() == {}
    cloud.set(t.host, host, state="silent")
    cloud.look(after=MINUTE)
    severity, text = cloud.open()["host-silent", host]
    assert severity == "warning"
    assert "a1" in text
    cloud.look(after=5 * MINUTE)
    assert cloud.open()["host-silent", host][0] == "critical"
    cloud.set(t.host, host, state="up")
    cloud.look()
    assert cloud.open(), "it may be gone again in a moment"
    cloud.look(after=MINUTE)
    assert cloud.open() == {}
    assert cloud.events() == ["alert.opened", "alert.raised", "alert.ended"]


def test_a_pool_that_fills_up_is_an_alert_that_rises_and_goes_when_there_is_room(
    cloud: Cloud,
) -> None:
    host = cloud.host("a1")
    cloud.add(t.pool, id="pool-1", zone="zone-1", host=host, name="a1-local", kind="local", total_mib=1000, used_mib=799)  # fmt: skip
    cloud.add(t.pool, id="pool-2", zone="zone-1", host=host, name="empty", kind="local")
    cloud.look()
    cloud.look(after=MINUTE)
    assert cloud.open() == {}
    cloud.set(t.pool, "pool-1", used_mib=800)
    cloud.look()
    assert cloud.open() == {}, "it may pass in a moment"
    cloud.look(after=MINUTE)
    key = ("pool-filling", "pool-1")
    assert cloud.open() == {
        key: ("warning", "pool a1-local: 80 % of 1000 MiB are in use"),
    }
    cloud.set(t.pool, "pool-1", used_mib=950)
    cloud.look()
    assert cloud.open()[key][0] == "critical"
    cloud.set(t.pool, "pool-1", used_mib=799)
    cloud.look()
    assert key in cloud.open(), "it may fill up again in a moment"
    cloud.look(after=5 * MINUTE)
    assert cloud.open() == {}
    assert cloud.events() == ["alert.opened", "alert.raised", "alert.ended"]


def test_an_alert_of_a_full_pool_says_what_that_means(cloud: Cloud) -> None:
    host = cloud.host("s1")
    cloud.add(t.pool, id="pool-1", zone="zone-1", host=host, name="s1-local", kind="nbd", total_mib=1000, used_mib=960)  # fmt: skip
    cloud.look()
    cloud.look(after=MINUTE)
    assert cloud.open()["pool-filling", "pool-1"] == (
        "critical",
        (
            "shared pool s1-local: 96 % of 1000 MiB are in use;"
            " it gets no further disks, and guests that need more room there stand still"
        ),
    )


def test_a_zone_that_fills_up_is_an_alert_before_it_is_full(cloud: Cloud) -> None:
    host = cloud.host("a1", memory_percent=100, reserved_memory_mib=849)
    cloud.look(after=MINUTE)
    cloud.look(after=MINUTE)
    assert cloud.open() == {}
    cloud.set(t.host, host, reserved_memory_mib=850)
    cloud.look()
    cloud.look(after=MINUTE)
    assert cloud.open() == {
        ("zone-capacity", "zone-1"): (
            "warning",
            "zone north is nearly full: 85 % of memory reserved",
        )
    }
    cloud.set(t.host, host, reserved_memory_mib=950)
    cloud.look()
    assert cloud.open()["zone-capacity", "zone-1"][0] == "critical"


def test_elections_that_don_t_end_are_an_alert(cloud: Cloud) -> None:
    for epoch in (1, 2, 3):
        cloud.add(t.election, epoch=epoch, holder=f"s{epoch}", at=NOW, cause="ended")
    cloud.look()
    assert cloud.open() == {}
    cloud.add(t.election, epoch=4, holder="s4", at=NOW, cause="ended")
    cloud.look()
    text = "4 elections in 15 minutes, the last one for s4"
    assert cloud.open() == {("master-changing", "master"): ("warning", text)}
    cloud.look(after=15 * MINUTE)
    cloud.look(after=5 * MINUTE)
    assert cloud.open() == {}


def test_a_farm_whose_machines_fail_is_one_alert(cloud: Cloud) -> None:
    cloud.add(t.domain, id="domain-1", path="root", name="root")
    cloud.add(t.account, id="account-1", domain="domain-1", name="acme")
    cloud.add(t.farm, id="farm-1", account="account-1", zone="zone-1", name="shop")
    cloud.add(t.offering, id="offering-1", name="o", cpus=1, cpu_mhz=1, memory_mib=1, root_mib=1)
    for n in range(5):
        state = "error" if n else "running"
        cloud.add(t.machine, id=f"machine-{n}", account="account-1", farm="farm-1", zone="zone-1", name=f"m{n}", state=state, wish="running", offering="offering-1", changed_at=NOW)  # fmt: skip
    cloud.look()
    text = "4 of farm acme/shop's machines could not be started: m1, m2, m3, …"
    assert cloud.open() == {("farm-failing", "farm-1"): ("warning", text)}
    cloud.set(t.machine, "machine-1", state="running")
    cloud.look()
    assert cloud.open()["farm-failing", "farm-1"][1].startswith("3 of farm")


def test_what_servers_say_of_themselves_counts_for_as_long_as_they_say_it(cloud: Cloud) -> None:
    full = Finding(AlertKind.WRITER_FAILING, "s1", "s1", Severity.CRITICAL, "it fails")
    with cloud.database.write() as tx:
        alerts.signal(tx, "s1", [full], cloud.clock.now())
    cloud.look()
    assert list(cloud.open()) == [("writer-failing", "s1")]
    cloud.look(after=4 * MINUTE)  # nobody heard of that server since
    cloud.look(after=6 * MINUTE)
    assert cloud.open() == {}


def test_routes_hear_of_what_is_severe_enough_and_disabled_ones_of_nothing(cloud: Cloud) -> None:
    cloud.route("all")
    cloud.route("urgent", "critical")
    cloud.route("off", enabled=False)
    host = cloud.host("a1", state="silent")
    cloud.look()
    assert cloud.owed() == {"all": ["opened"]}
    cloud.look(after=5 * MINUTE)
    assert cloud.owed() == {"all": ["opened", "raised"], "urgent": ["raised"]}
    cloud.set(t.host, host, state="up")
    cloud.look()
    cloud.look(after=MINUTE)
    assert cloud.owed()["urgent"] == ["raised", "ended"]


def test_looking_again_at_the_same_state_changes_nothing(cloud: Cloud) -> None:
    cloud.route("all")
    cloud.host("a1", state="silent")
    cloud.look()
    for _ in range(3):
        cloud.look()
    assert cloud.events() == ["alert.opened"]
    assert cloud.owed() == {"all": ["opened"]}


def test_who_acknowledged_it_is_kept_while_the_controller_goes_on(cloud: Cloud) -> None:
    host = cloud.host("a1", state="silent")
    cloud.look()
    with cloud.database.write() as tx:
        (alert,) = alerts.watched(tx)
        alerts.acknowledge(tx, alert.id, "ann", NOW)
        alerts.acknowledge(tx, alert.id, "bob", NOW)
        alerts.change(tx, alert)  # by a controller that looked before
    cloud.look(after=5 * MINUTE)
    cloud.set(t.host, host, state="up")
    cloud.look()
    with cloud.database.read() as tx:
        assert alerts.get(tx, alert.id).acknowledged_by == "ann"


def test_a_host_in_maintenance_may_be_silent(cloud: Cloud) -> None:
    host = cloud.host("a1", state="silent")
    cloud.look()
    cloud.set(t.host, host, maintenance=True)
    cloud.look()
    cloud.look(after=MINUTE)
    assert cloud.open() == {}


def test_alerts_that_ended_long_ago_are_forgotten(cloud: Cloud) -> None:
    host = cloud.host("a1", state="silent")
    cloud.look()
    cloud.set(t.host, host, state="up")
    cloud.look()
    cloud.look(after=MINUTE)
    with cloud.database.write() as tx:
        assert housekeeping.sweep(tx, cloud.clock.now() + housekeeping.ALERTS_KEPT / 2) == 0
        assert housekeeping.sweep(tx, cloud.clock.now() + 2 * housekeeping.ALERTS_KEPT) == 1
