"""Networks with two routers: there are two, apart; one takes the other's place by itself, and that is written down."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_recovery import at_rest, declare_down, deploy, passes, rows, write

from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import OFFERING, Room


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("pairs", tmp_path, Room(pods=1, hosts=3))
    made.settle_down(3)
    write(made, """update host set roles = '["compute", "routing"]'""")
    deploy(made, "m", OFFERING)
    write(made, "update network set redundant = true, attention = true")
    passes(made, 20)
    yield made
    made.database.close()


def pair(cloud: Cloud) -> list[SimNode]:
    """Where the two are, the one that leads first."""
    ((one, other),) = rows(cloud, "select appliance_host, standby_host from network")
    return [cloud.nodes[host] for host in (one, other) if host]


def leading(cloud: Cloud) -> list[SimNode]:
    return [
        node
        for node in cloud.nodes.values()
        for held in node.hardware.appliances.values()
        if node.powered and node.hardware.leads(held.wish)
    ]


def test_the_second_one_is_on_another_host_and_told_the_same(cloud) -> None:
    one, other = pair(cloud)
    assert one is not other
    assert leading(cloud) == [one]
    assert rows(cloud, "select appliance_state, standby_state from network") == [
        ("running", "running")
    ]
    deploy(cloud, "later", OFFERING)
    first, second = (next(iter(n.hardware.appliances.values())) for n in (one, other))
    assert len(second.leases) == 2
    assert first.leases == second.leases
    at_rest(cloud)


def test_when_the_one_that_leads_is_lost_the_other_one_does_at_once_and_a_third_is_found(
    cloud,
) -> None:
    lost, other = pair(cloud)
    cloud.power_off(lost)
    assert leading(cloud) == [other], "nobody had to be asked"
    passes(cloud, 4)
    assert pair(cloud) == [other, lost], "it has said so"
    declare_down(cloud, lost)
    passes(cloud, 20)
    one, third = pair(cloud)
    assert one is other
    assert third is not lost
    assert leading(cloud) == [other]
    lost.powered = True
    passes(cloud, 30)
    assert not lost.hardware.appliances
    at_rest(cloud)


def test_one_that_leads_and_is_cut_off_from_management_leads_until_it_was_given_up(cloud) -> None:
    away, other = pair(cloud)
    cloud.cut(away)
    passes(cloud, 6)
    assert leading(cloud) == [away]
    declare_down(cloud, away)
    passes(cloud, 20)
    assert leading(cloud) == [other]
    away.wire.cut = False
    passes(cloud, 30)
    at_rest(cloud)


def test_who_stood_by_and_is_lost_is_replaced_and_nothing_else_happens(cloud) -> None:
    one, lost = pair(cloud)
    cloud.power_off(lost)
    declare_down(cloud, lost)
    passes(cloud, 20)
    still, third = pair(cloud)
    assert still is one
    assert third is not lost
    assert leading(cloud) == [one]


def test_both_can_be_lost(cloud) -> None:
    both = pair(cloud)
    for node in both:
        cloud.power_off(node)
        declare_down(cloud, node)
    passes(cloud, 20)
    assert leading(cloud) not in ([both[0]], [both[1]])
    assert len(leading(cloud)) == 1
    ((told,),) = rows(cloud, "select standby_told from network")
    assert told.startswith("no other host of the zone")


def test_a_network_that_is_to_have_one_has_one_again(cloud) -> None:
    one, other = pair(cloud)
    write(
        cloud, "update network set redundant = false, attention = true, generation = generation + 1"
    )
    passes(cloud, 20)
    assert pair(cloud) == [one]
    assert not other.hardware.appliances
    at_rest(cloud)


def test_where_no_second_one_starts_another_host_is_tried_and_the_reason_is_told(cloud) -> None:
    one, other = pair(cloud)
    others = [node for node in cloud.nodes.values() if node is not one]
    for node in others:
        node.hardware.unroutable = "keepalived is not installed here"
    cloud.power_off(other)
    declare_down(cloud, other)
    passes(cloud, 200)
    ((told, state),) = rows(cloud, "select standby_told, appliance_state from network")
    assert "keepalived" in told
    assert state == "running"
    for node in others:
        node.hardware.unroutable = ""
    passes(cloud, 60)
    assert len(pair(cloud)) == 2


def test_machines_that_wait_for_a_network_are_woken_when_the_second_one_is_there_first(
    tmp_path,
) -> None:
    cloud = Cloud.build("the second first", tmp_path, Room(pods=1, hosts=2))
    cloud.settle_down(3)
    write(cloud, """update host set roles = '["compute", "routing"]'""")
    for node in cloud.nodes.values():
        node.frozen = True
    deploy(cloud, "m", OFFERING)
    ((first, state),) = rows(cloud, "select appliance_host, appliance_state from network")
    assert state == "starting"
    cloud.power_off(cloud.nodes[first])
    write(cloud, "update network set redundant = true, attention = true")
    for node in cloud.nodes.values():
        node.frozen = False
    passes(cloud, 30)
    assert rows(cloud, "select state from machine") != [("waiting",)]  # any host may have it
    cloud.database.close()


def test_a_router_that_was_started_for_machines_without_room_forgets_them(tmp_path) -> None:
    cloud = Cloud.build("no room", tmp_path, Room(pods=1, hosts=2, host_memory_mib=512))
    cloud.settle_down(3)
    deploy(cloud, "m", OFFERING, count=6)
    passes(cloud, 30)
    assert rows(cloud, "select count(*) from machine") == [(4,)], "two found no room"
    at_rest(cloud)
    cloud.database.close()
