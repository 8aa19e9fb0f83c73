"""Maintenance that stops what can't leave: it starts again afterwards, unless its owner meant it to be off."""

import pytest
from make_cloud import Cloud
from make_shop import Shop

from arable.controllers import draining
from arable.domain.errors import BadInput
from arable.domain.ids import HostId, MachineId
from arable.services import hosts, power
from arable.wire.hosts import HostChange
from arable.wire.machines import DestroyIn, StopIn

HOST = HostId("host-a")
STOPS = HostChange(maintenance=True, maintenance_stops=True)
OVER = HostChange(maintenance=False)


class Stopping:
    """Two machines whose disks are where they run."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.ann = cloud, cloud.account("ann")
        self.operator = cloud.account("o", role="operator")
        cloud.run(
            """insert into pod (id, zone, name, cidr, created_at)
               values ('pod-a', 'zone-here', 'a', '10.0.0.0/24', 0) on conflict do nothing"""
        )
        cloud.run(
            """insert into host (id, zone, pod, name, state, created_at)
               values ('host-a', 'zone-here', 'pod-a', 'a', 'up', 0) on conflict do nothing"""
        )
        made = cloud.deploy(self.ann, count=2).machines
        self.web, self.db = (MachineId(each.id) for each in made)
        self.seen("running", "running")

    def seen(self, state: str, wish: str) -> None:
        self.cloud.run(
            "update machine set state = :s, wish = :w, host = 'host-a', operation = null, attention = false",
            s=state,
            w=wish,
        )

    def says(self, change: HostChange) -> None:
        self.cloud.do(self.operator, hosts.update, HOST, change)

    def round(self) -> int:
        with self.cloud.database.write() as tx:
            return draining.watch(tx, self.cloud.around.clock.now())

    def states(self) -> list[tuple[str, str]]:
        rows = self.cloud.rows("select state, wish from machine order by id")
        return [tuple(row) for row in rows]

    def staying(self) -> list[tuple[bool, str]]:
        found = self.cloud.do(self.operator, hosts.get, HOST).staying
        return [(one.leaves, one.told) for one in found]

    def drains(self) -> list[tuple[str, int]]:
        rows = self.cloud.rows("select state, pending from operation where kind = 'host.drain'")
        return [tuple(row) for row in rows]


@pytest.fixture
def made(cloud) -> Stopping:
    return Stopping(cloud)


def test_what_cannot_leave_is_stopped_and_starts_again(made):
    made.says(HostChange(maintenance=True))
    assert made.round() == 0
    assert made.states() == [("running", "running")] * 2, "nobody asked for that"
    made.says(STOPS)
    assert made.round() == 2
    assert made.states() == [("stopping", "stopped")] * 2
    assert made.drains() == [("running", 2)]
    assert made.staying() == [(True, "is stopped, or replaced if it is of a farm")] * 2
    assert made.round() == 0
    made.cloud.run("update machine set state = 'stopped', host = null")
    made.round()
    assert made.drains() == [("done", 0)]
    assert made.staying() == []
    made.says(OVER)
    assert made.round() == 2
    assert made.states() == [("waiting", "running")] * 2
    assert made.cloud.rows("select machine from maintenance_stop") == []
    told = made.cloud.rows("select kind from event where kind like 'machine.st%' order by number")
    assert [kind for (kind,) in told[-4:]] == ["machine.stopping"] * 2 + ["machine.starting"] * 2


def test_what_somebody_stopped_or_destroyed_meanwhile_stays_so(made):
    made.says(STOPS)
    made.round()
    made.cloud.do(made.operator, power.stop, made.web, StopIn(force=True))
    assert len(made.cloud.rows("select * from maintenance_stop")) == 2, "that only hurries it"
    made.cloud.run("update machine set state = 'stopped', operation = null, host = null")
    made.cloud.do(made.ann, power.stop, made.web, StopIn())
    made.cloud.do(made.ann, power.destroy, made.db, DestroyIn())
    made.says(OVER)
    assert made.round() == 0
    assert sorted(made.states()) == [("destroyed", "destroyed"), ("stopped", "stopped")]
    assert made.cloud.rows("select machine from maintenance_stop") == []


def test_what_is_not_off_yet_when_it_is_over_starts_when_it_is(made):
    made.says(STOPS)
    made.round()
    made.says(OVER)
    assert made.round() == 0
    made.cloud.run("update machine set state = 'stopped', host = null")
    assert made.round() == 2


def test_what_somebody_waits_for_is_let_end_first(made):
    made.cloud.do(made.ann, power.reboot, made.web)
    made.says(STOPS)
    assert made.round() == 1
    made.cloud.run("update machine set operation = null")
    assert made.round() == 1


def test_it_is_only_for_hosts_in_maintenance(made):
    refused = made.cloud.refused(
        made.operator, hosts.update, HOST, HostChange(maintenance_stops=True)
    )
    assert isinstance(refused, BadInput)
    assert refused.field == "maintenance_stops"
    made.says(STOPS)
    made.says(OVER)
    assert not made.cloud.do(made.operator, hosts.get, HOST).maintenance_stops


def test_elements_of_farms_are_replaced(lone_cloud):
    shop = Shop(lone_cloud)
    shop.round()
    shop.run_all()
    shop.says()
    shop.round(2)
    operator = lone_cloud.account("o", role="operator")
    lone_cloud.do(operator, hosts.update, HOST, STOPS)
    with lone_cloud.database.write() as tx:
        assert draining.watch(tx, lone_cloud.around.clock.now()) == 2
    assert lone_cloud.rows("select count(*) from maintenance_stop") == [(0,)]
    assert shop.wanting() == [shop.farm]
    assert lone_cloud.rows("select by_force from element") == [(True,)] * 2
    shop.round()
    assert set(shop.states()) == {"draining"}
