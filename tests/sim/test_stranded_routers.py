"""Routers of hosts that are lost: another host's takes the place, and what comes back leaves."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_recovery import at_rest, declare_down, deploy, passes, rows, says, write

from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import OFFERING, Room


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("routers", tmp_path, Room(pods=1, hosts=3))
    made.settle_down(3)
    write(made, """update host set roles = '["compute", "routing"]'""")
    yield made
    made.database.close()


def routers(cloud: Cloud) -> dict[str, int]:
    """Hosts where the only network's router really is, with its epoch."""
    return {
        host: held.wish.epoch
        for host, node in cloud.nodes.items()
        for held in node.hardware.appliances.values()
    }


def host_of_router(cloud: Cloud) -> SimNode:
    ((host,),) = rows(cloud, "select appliance_host from network")
    return cloud.nodes[host]


def test_a_router_of_a_host_that_is_down_is_started_elsewhere_by_the_next_epoch(cloud) -> None:
    deploy(cloud, "m", OFFERING)
    lost = host_of_router(cloud)
    cloud.power_off(lost)
    declare_down(cloud, lost)
    passes(cloud, 8)
    new = host_of_router(cloud)
    assert new is not lost
    assert rows(cloud, "select appliance_state from network") == [("running",)]
    assert routers(cloud)[new.id] == 1
    held = next(iter(new.hardware.appliances.values())).leases
    assert len(held) == 1, "it knows its machines"
    kinds = rows(cloud, "select kind from event where kind = 'network.recovering'")
    assert len(kinds) == 1
    lost.powered = True
    passes(cloud, 30)
    assert routers(cloud) == {new.id: 1}
    at_rest(cloud)


def test_a_router_of_a_host_that_is_silent_stays(cloud) -> None:
    deploy(cloud, "m", OFFERING)
    away = host_of_router(cloud)
    cloud.cut(away)
    write(cloud, "update host set state = 'silent' where id = :id", id=away.id)
    passes(cloud, 60)
    assert host_of_router(cloud) is away
    assert routers(cloud) == {away.id: 0}


def test_one_that_runs_on_where_nobody_can_end_it_has_a_lower_epoch_and_leaves_when_it_is_told(
    cloud,
) -> None:
    deploy(cloud, "m", OFFERING)
    away = host_of_router(cloud)
    away.frozen = True
    declare_down(cloud, away)
    passes(cloud, 8)
    assert sorted(routers(cloud).values()) == [0, 1]
    away.frozen = False
    passes(cloud, 10)
    assert sorted(routers(cloud).values()) == [1]
    at_rest(cloud)


def test_without_another_host_it_stays_says_why_and_goes_as_soon_as_there_is_one(cloud) -> None:
    deploy(cloud, "m", OFFERING)
    lost = host_of_router(cloud)
    others = [host for host in cloud.ground.hosts if host != lost.id]
    write(cloud, "update host set maintenance = true where id <> :id", id=lost.id)
    cloud.power_off(lost)
    declare_down(cloud, lost)
    passes(cloud, 8)
    assert host_of_router(cloud) is lost
    ((told,),) = rows(cloud, "select appliance_told from network")
    assert told == "its host is down, and no other one can run it"
    write(cloud, "update host set maintenance = false where id = :id", id=others[0])
    passes(cloud, 8)
    assert list(routers(cloud)) == [others[0]] or routers(cloud)[others[0]] == 1


def test_one_that_was_leaving_a_host_that_went_down_is_started_elsewhere_for_who_runs(
    cloud,
) -> None:
    deploy(cloud, "m", OFFERING)
    lost = host_of_router(cloud)
    write(cloud, "update network set appliance_state = 'leaving'")
    cloud.power_off(lost)
    declare_down(cloud, lost)
    passes(cloud, 8)
    assert rows(cloud, "select appliance_state, appliance_epoch from network") == [("running", 1)]


def test_a_router_that_no_host_could_start_is_tried_again_while_machines_run_without_it(
    cloud,
) -> None:
    machine = deploy(cloud, "m", OFFERING)
    lost = host_of_router(cloud)
    others = [node for node in cloud.nodes.values() if node is not lost]
    for node in others:
        node.hardware.unroutable = "dnsmasq is not installed"
    cloud.power_off(lost)
    declare_down(cloud, lost)
    passes(cloud, 60)
    assert rows(cloud, "select appliance_state from network") != [("running",)]
    assert "the routing appliance of default: " in says(cloud, machine)
    for node in others:
        node.hardware.unroutable = ""
    passes(cloud, 60)
    assert rows(cloud, "select appliance_state, appliance_failed from network") == [
        ("running", "{}")
    ]
    assert host_of_router(cloud) is not lost
    lost.powered = True
    passes(cloud, 60)
    assert rows(cloud, "select state from machine where id = :id", id=machine) == [("running",)]
    at_rest(cloud)
