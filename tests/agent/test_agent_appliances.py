"""Routers are programmed when their wish or their leases change, repaired when they fail, removed when unwanted."""

from dataclasses import replace

import pytest

from agent import make_agent as make
from agent.make_agent import Rig
from arable.domain.manifest import ApplianceSeen


@pytest.fixture
def rig() -> Rig:
    return Rig()


def leases(rig: Rig, network: str = "a") -> set[str]:
    return {lease.name for lease in rig.hardware.appliances[make.network(network)].leases.values()}


def test_a_router_runs_with_the_leases_of_its_network_alone(rig) -> None:
    rig.wish(
        make.appliance("a"),
        make.appliance("b", vlan=101),
        make.lease("web", of="a"),
        make.lease("db", of="b"),
    )
    rig.step()
    assert leases(rig, "a") == {"web"}
    assert leases(rig, "b") == {"db"}
    assert rig.server.appliances[make.network("a")].running


def test_leases_come_move_and_go(rig) -> None:
    rig.wish(make.appliance("a"), make.appliance("b", vlan=101))
    rig.step()
    rig.wish(make.lease("web"), make.lease("db"))
    rig.step()
    assert leases(rig) == {"web", "db"}
    rig.wish(make.lease("web", of="b"), no=[make.lease("db")])
    rig.step()
    assert leases(rig) == set()
    assert leases(rig, "b") == {"web"}


def test_a_router_is_not_touched_while_nothing_changed(rig) -> None:
    rig.wish(make.appliance("a"), make.lease("web"))
    rig.step()
    ensured = []
    ensure = rig.drivers.appliances.ensure
    rig.drivers.appliances.ensure = lambda *args: (ensured.append(args), ensure(*args))
    rig.wish(make.guest("a"), make.lease("other", of="z"))
    rig.settle(60)
    assert not ensured
    rig.wish(make.lease("db"))
    rig.settle(60)
    assert len(ensured) == 1


def test_after_a_restart_a_router_is_programmed_once_since_its_leases_can_not_be_seen(rig) -> None:
    rig.wish(make.appliance("a"), make.lease("web"))
    rig.step()
    rig.hardware.appliances[make.network("a")].leases.clear()
    rig.restart()
    rig.step()
    assert leases(rig) == {"web"}


def test_a_changed_wish_is_programmed(rig) -> None:
    wish = make.appliance("a")
    rig.wish(wish)
    rig.step()
    rig.wish(replace(wish, generation=2, domain="other.internal"))
    rig.step()
    assert rig.hardware.appliances[make.network("a")].wish.domain == "other.internal"
    assert rig.server.appliances[make.network("a")].generation == 2


def test_a_broken_router_is_told_and_repaired(rig) -> None:
    rig.wish(make.appliance("a"))
    rig.settle(30)
    rig.hardware.break_appliance(make.network("a"))
    rig.step()
    assert rig.hardware.appliances[make.network("a")].seen.running
    rig.step()
    assert rig.server.appliances[make.network("a")].running


def test_a_router_no_longer_wished_for_is_removed_with_its_vlans(rig) -> None:
    rig.wish(make.appliance("a"), make.lease("web"))
    rig.step()
    assert rig.server.vlans == (50, 100)
    rig.wish(no=[make.appliance("a"), make.lease("web")])
    rig.step()
    assert not rig.hardware.appliances
    rig.settle(20)
    assert rig.server.vlans == ()
    assert not rig.server.appliances


def test_a_router_that_fails_to_start_is_told_with_the_reason_and_tried_again(rig) -> None:
    rig.faults.when = lambda where: where == "before ensure network-a"
    rig.wish(make.appliance("a"), make.appliance("b", vlan=101), make.guest("a"))
    rig.step()
    seen = rig.server.appliances[make.network("a")]
    assert (seen.running, seen.generation) == (False, 0)
    assert "simulated failure" in seen.told
    assert rig.server.appliances[make.network("b")].running
    assert rig.runs("a")
    rig.faults.when = lambda _where: False
    rig.settle(20)
    assert rig.server.appliances[make.network("a")].running


def test_failures_in_a_row_are_counted_until_it_runs(rig) -> None:
    rig.hardware.unroutable = "no dnsmasq"
    rig.wish(make.appliance("a"))
    rig.settle(20)
    seen = rig.server.appliances[make.network("a")]
    assert seen.tries >= 3
    assert seen.told == "no dnsmasq"
    rig.hardware.unroutable = ""
    rig.settle(60)
    assert rig.server.appliances[make.network("a")].tries == 0


def test_a_router_that_is_made_again_and_again_and_never_runs_counts_as_failing(rig) -> None:
    ensure = rig.drivers.appliances.ensure

    def in_vain(wish, leases) -> None:
        ensure(wish, leases)
        rig.hardware.break_appliance(wish.network, "it ends at once")

    rig.drivers.appliances.ensure = in_vain
    rig.wish(make.appliance("a"))
    rig.settle(40)
    seen = rig.server.appliances[make.network("a")]
    assert (seen.running, seen.told) == (False, "it ends at once")
    assert seen.tries >= 3


def test_failures_are_forgotten_with_the_wish(rig) -> None:
    rig.hardware.unroutable = "no dnsmasq"
    rig.wish(make.appliance("a"))
    rig.settle(20)
    rig.wish(no=[make.appliance("a")])
    rig.settle(20)
    assert not rig.hardware.appliances
    assert not rig.hardware.ports
    rig.wish(make.appliance("a"))
    rig.step()
    assert rig.server.appliances[make.network("a")].tries == 1


def test_a_router_that_takes_its_time_to_start_is_not_started_again_meanwhile(rig) -> None:
    driver = rig.drivers.appliances
    ensured = []
    driver.settles_seconds = lambda _network: 60.0
    driver.ensure = lambda wish, leases: ensured.append(wish.generation)
    network = make.network("a")
    starting = ApplianceSeen(network=network, generation=0, running=False, told="it is starting")
    driver.appliances = lambda: {network: starting}
    rig.wish(make.appliance("a"))
    rig.settle(50)
    assert ensured == [1]
    assert rig.server.appliances[network].tries == 0
    rig.settle(30)
    assert ensured == [1, 1]
    assert rig.server.appliances[network].tries == 1
