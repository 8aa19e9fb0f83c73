"""What routers of a zone are: which hosts may have them, what those are told, and what is refused."""

from datetime import timedelta

import msgspec
import pytest
from make_cloud import Cloud
from test_landing import routed, with_hosts

from arable.controllers import appliances, pairs, standbys, stranded
from arable.domain.access import Caller, Permission
from arable.domain.ids import HostId, NetworkId, ZoneId
from arable.domain.manifest import ApplianceWish
from arable.domain.router_runtime import RouterRuntime
from arable.services import hosts, networks, zones
from arable.store import routing
from arable.wire.networks import NetworkChange, NetworkQuery
from arable.wire.zones import ZoneChange

HERE = ZoneId("zone-here")


@pytest.fixture
def town(lone_cloud) -> tuple[Cloud, Caller]:
    """Two hosts that route, of which one can have virtual machines for it, and a network with a machine."""
    with_hosts(lone_cloud, "a", "b")
    lone_cloud.run("""update host set roles = '["compute", "routing"]'""")
    lone_cloud.run("""update host set facts = '{"vm_routers": true}' where id = 'host-b'""")
    me = lone_cloud.account("me")
    routed(lone_cloud, me)
    absent(lone_cloud)
    return lone_cloud, me


def absent(cloud: Cloud) -> None:
    cloud.run("update network set appliance_state = 'absent', appliance_host = null")


def choose(cloud: Cloud, runtime: str) -> None:
    cloud.run("update zone set router_runtime = :runtime", runtime=runtime)


def start(cloud: Cloud) -> str:
    """Where the network's router starts, or why it does not."""
    ((network,),) = cloud.rows("select id from network")
    with cloud.database.write() as tx:
        refused = appliances.want(tx, [NetworkId(network)])
    for error in refused.values():
        return f"{error.public} {error.why}"
    ((host,),) = cloud.rows("select appliance_host from network")
    return host


def told(cloud: Cloud) -> dict[str, ApplianceWish]:
    rows = cloud.rows(
        "select host, body from manifest_item where kind = 'appliance' and body is not null"
    )
    return {host: msgspec.json.decode(body, type=ApplianceWish) for host, body in rows}


def attend(cloud: Cloud) -> None:
    with cloud.database.write() as tx:
        appliances.attend(tx, cloud.around.clock.now())


def test_routers_are_namespaces_unless_their_zone_says_otherwise(town):
    cloud, _ = town
    assert start(cloud) == "host-a"
    ((body,),) = cloud.rows("select body from manifest_item where kind = 'appliance'")
    assert "runtime" not in body  # so what hosts are told is as it was


def test_routers_that_are_machines_are_where_those_can_be(town):
    cloud, _ = town
    choose(cloud, "vm")
    assert start(cloud) == "host-b"
    assert told(cloud)["host-b"].runtime is RouterRuntime.VM


def test_without_a_host_that_can_the_reason_is_told(town):
    cloud, _ = town
    choose(cloud, "vm")
    cloud.run("update host set maintenance = true where id = 'host-b'")
    said = start(cloud)
    assert "as virtual machines is up" in said
    assert "'a': 'runs no routers as virtual machines'" in said
    assert "'b': 'is in maintenance'" in said


def test_a_router_that_runs_stays_what_it_is_until_it_is_restarted(town):
    cloud, me = town
    choose(cloud, "vm")
    start(cloud)
    choose(cloud, "namespace")
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    cloud.do(me, networks.update, network.id, NetworkChange(dns_domain="other.internal"))
    attend(cloud)
    assert told(cloud)["host-b"].runtime is RouterRuntime.VM
    cloud.do(me, networks.restart, network.id)
    attend(cloud)
    assert told(cloud)["host-b"].runtime is RouterRuntime.NAMESPACE


def test_a_restart_makes_no_machine_where_there_can_be_none(town):
    cloud, me = town
    assert start(cloud) == "host-a"
    choose(cloud, "vm")
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    cloud.do(me, networks.restart, network.id)
    attend(cloud)
    assert told(cloud)["host-a"].runtime is RouterRuntime.NAMESPACE


def test_a_router_of_a_lost_host_goes_where_it_can_be(town):
    cloud, _ = town
    choose(cloud, "vm")
    start(cloud)
    cloud.run("update host set state = 'down' where id = 'host-b'")
    with cloud.database.write() as tx:
        assert stranded.watch(tx, cloud.around.clock.now()) == 0
    cloud.run("""update host set facts = '{"vm_routers": true}' where id = 'host-a'""")
    with cloud.database.write() as tx:
        assert stranded.watch(tx, cloud.around.clock.now() + timedelta(seconds=1)) == 1
    assert (told(cloud)["host-a"].runtime, told(cloud)["host-a"].epoch) == (RouterRuntime.VM, 1)


def pair_up(cloud: Cloud) -> str:
    """What is told of the other one of the network's pair, after a round that looks for its place."""
    with cloud.database.write() as tx:
        pairs.attend(tx, cloud.around.clock.now())
    ((told,),) = cloud.rows("select standby_told from network")
    return told


def test_two_that_are_machines_are_where_those_can_be(town):
    cloud, me = town
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    cloud.do(me, networks.update, network.id, NetworkChange(redundant=True))
    choose(cloud, "vm")
    assert start(cloud) == "host-b"
    assert pair_up(cloud) == pairs.NO_MACHINES
    cloud.run("""update host set facts = '{"vm_routers": true}'""")
    assert not pair_up(cloud)
    wishes = told(cloud)
    assert {host: wish.runtime for host, wish in wishes.items()} == dict.fromkeys(
        ("host-a", "host-b"), RouterRuntime.VM
    )
    assert wishes["host-a"].pair
    assert wishes["host-a"].pair.other == wishes["host-b"].pair.number


def test_the_second_one_is_what_the_first_one_is_until_both_are_made_anew(town):
    cloud, me = town
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    cloud.do(me, networks.update, network.id, NetworkChange(redundant=True))
    assert start(cloud) == "host-a"
    choose(cloud, "vm")
    assert not pair_up(cloud)
    for able in (RouterRuntime.NAMESPACE, RouterRuntime.VM):
        cloud.do(me, networks.restart, network.id)
        attend(cloud)
        assert {wish.runtime for wish in told(cloud).values()} == {able}, "one of them can't be"
        cloud.run("""update host set facts = '{"vm_routers": true}'""")


def test_operators_choose_and_see_and_customers_do_not(town):
    cloud, me = town
    operator = cloud.account("boss", role="operator")
    changed = cloud.do(operator, zones.update, HERE, ZoneChange(router_runtime="vm"))
    assert changed.router_runtime == "vm"
    start(cloud)
    (seen,) = cloud.do(operator, networks.page, NetworkQuery()).items
    assert seen.appliance_runtime == "vm"
    (shown,) = cloud.do(me, networks.page, NetworkQuery()).items
    assert shown.appliance_runtime is None
    assert Permission.INFRA_READ not in me.permissions


def reserved(cloud: Cloud) -> dict[str, int]:
    """Memory by host, beside that of machines."""
    rows = cloud.rows("select id, reserved_memory_mib from host")
    placed = dict(
        cloud.rows("select host, sum(memory_mib) from machine where host is not null group by host")
    )
    return {host: mib - placed.get(host, 0) for host, mib in rows}


def test_a_router_that_is_a_machine_has_its_memory_reserved_as_long_as_it_is_there(town):
    cloud, me = town
    operator = cloud.account("boss", role="operator")
    cloud.run("""update host set facts = '{"vm_routers": true, "vm_router_mib": 300}'""")
    choose(cloud, "vm")
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    cloud.do(me, networks.update, network.id, NetworkChange(redundant=True))
    start(cloud)
    pair_up(cloud)
    assert reserved(cloud) == {"host-a": 300, "host-b": 300}
    assert cloud.do(operator, hosts.get, HostId("host-a")).routers_memory_mib == 300
    assert cloud.do(operator, zones.capacity_of, HERE).routers_memory_mib == 600
    cloud.run("""update host set facts = '{"vm_routers": true, "vm_router_mib": 500}'""")
    cloud.do(me, networks.update, network.id, NetworkChange(redundant=False))
    attend(cloud)
    with cloud.database.write() as tx:
        (row,) = routing.networks_by_id(tx, [NetworkId(network.id)])
        standbys.gone(tx, row)
    assert reserved(cloud) == {"host-a": 300, "host-b": 0}
    choose(cloud, "namespace")
    cloud.do(me, networks.restart, network.id)
    assert reserved(cloud) == {"host-a": 0, "host-b": 0}
    choose(cloud, "vm")
    cloud.do(me, networks.restart, network.id)
    assert reserved(cloud) == {"host-a": 500, "host-b": 0}
    cloud.run("update host set state = 'down' where id = 'host-a'")
    with cloud.database.write() as tx:
        assert stranded.watch(tx, cloud.around.clock.now()) == 1
    assert reserved(cloud) == {"host-a": 0, "host-b": 500}
    with cloud.database.write() as tx:
        appliances.gone(tx, row)
    assert reserved(cloud) == {"host-a": 0, "host-b": 0}


def test_where_a_host_has_no_memory_left_a_router_is_no_machine_and_the_reason_is_told(town):
    cloud, me = town
    cloud.run("update host set memory_percent = 100, memory_mib = reserved_memory_mib + 300")
    choose(cloud, "vm")
    before = reserved(cloud)
    said = start(cloud)
    assert "no host of the zone has memory for a router that is a virtual machine" in said
    assert f"'b': '{appliances.NO_MEMORY}'" in said
    cloud.run("update host set memory_mib = memory_mib + 20 where id = 'host-b'")
    assert start(cloud) == "host-b"
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    cloud.do(me, networks.update, network.id, NetworkChange(redundant=True))
    cloud.run("""update host set facts = '{"vm_routers": true}'""")
    assert pair_up(cloud) == pairs.NO_MEMORY
    assert reserved(cloud) == before | {"host-b": before["host-b"] + 320}


def test_a_restart_makes_no_machine_where_there_is_no_memory_for_it(town):
    cloud, me = town
    assert start(cloud) == "host-a"
    cloud.run("""update host set facts = '{"vm_routers": true}', memory_mib = 319""")
    choose(cloud, "vm")
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    cloud.do(me, networks.restart, network.id)
    attend(cloud)
    assert told(cloud)["host-a"].runtime is RouterRuntime.NAMESPACE
