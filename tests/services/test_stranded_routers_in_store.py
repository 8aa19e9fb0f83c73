"""Routers of lost hosts, on both databases: who gets one, by which epoch, and what hosts are told of it."""

import msgspec
import pytest
from make_cloud import Cloud
from test_landing import routed, with_hosts

from arable.controllers import machines, repair, stranded
from arable.domain.manifest import ApplianceWish


@pytest.fixture
def town(cloud) -> Cloud:
    """Three hosts that route; the first one has the router of a network with a machine."""
    with_hosts(cloud, "a", "b", "c")
    cloud.run("""update host set roles = '["compute", "routing"]'""")
    routed(cloud, cloud.account("me"))
    return cloud


def watch(cloud: Cloud) -> int:
    with cloud.database.write() as tx:
        return stranded.watch(tx, cloud.around.clock.now())


def test_only_a_host_that_is_down_loses_its_router_and_what_hosts_are_told_fits(town):
    for state in ("up", "silent"):
        town.run("update host set state = :state where id = 'host-a'", state=state)
        assert watch(town) == 0
    town.run("update host set state = 'down' where id = 'host-a'")
    town.run("update host set maintenance = true where id = 'host-b'")
    assert watch(town) == 1
    assert watch(town) == 0
    items = dict(town.rows("select host, body from manifest_item where kind = 'appliance'"))
    wish = msgspec.json.decode(items["host-c"], type=ApplianceWish)
    assert wish.epoch == 1
    assert items.get("host-a") is None
    leases = town.rows("select host from manifest_item where kind = 'lease' and body is not null")
    assert leases == [("host-c",)]
    with town.database.write() as tx:
        assert repair.check(tx, town.around.clock.now()) == 0


def test_without_another_host_nothing_is_written_but_the_reason(town):
    town.run("update host set state = 'down'")
    assert watch(town) == 0
    assert town.rows("select appliance_host, appliance_epoch from network") == [("host-a", 0)]
    assert town.rows("select appliance_told from network") == [
        ("its host is down, and no other one can run it",)
    ]


LEASES = "select host from manifest_item where kind = 'lease' and body is not null"


def attend_machines(cloud: Cloud) -> None:
    cloud.run("update machine set attention = true")
    with cloud.database.write() as tx:
        assert machines.attend(tx, cloud.around.clock.now()) == 1


def test_a_router_that_is_given_to_another_host_leaves_nothing_of_machines_on_their_way_out(town):
    """Such a machine may take long to go, where its disks' host is away; then it was known to the lost host for ever."""
    attend_machines(town)
    assert town.rows(LEASES) == [("host-a",)]
    town.run("update machine set wish = 'gone', state = 'expunging'")
    town.run("update host set state = 'down' where id = 'host-a'")
    assert watch(town) == 1
    assert town.rows(LEASES) == []


def test_a_router_that_is_leaving_is_told_of_no_machine(town):
    town.run("update network set appliance_state = 'leaving'")
    attend_machines(town)
    assert town.rows(LEASES) == []
