"""Ports come before guests and go after them, and a VLAN is told gone only then (rule 3)."""

from dataclasses import replace

import pytest

from agent import make_agent as make
from agent.make_agent import Rig
from arable.domain.errors import Unavailable
from arable.domain.manifest import GuestState
from arable.drivers.network.protocol import Reach


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_vlan_comes_with_the_first_machine_and_goes_after_the_last(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"))
    rig.step()
    assert rig.server.vlans == (100,)
    rig.wish(no=[make.guest("a")])
    rig.step()
    assert rig.server.vlans == (100,)
    rig.wish(no=[make.guest("b")])
    rig.step()
    assert rig.server.vlans == ()
    assert not rig.hardware.ports
    assert not rig.hardware.mishaps


def test_a_stopped_machine_has_no_port(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(make.off("a"))
    rig.step()
    assert not rig.hardware.ports
    rig.wish(make.guest("a", generation=3))
    rig.step()
    assert rig.runs("a")


def test_a_port_stays_while_the_machine_is_still_shutting_down(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.disobey(make.machine("a"))
    rig.wish(make.off("a"))
    rig.settle(30)
    assert list(rig.hardware.ports) == [make.nic("a")]
    rig.settle(60)
    assert not rig.hardware.ports
    assert not rig.hardware.mishaps


def test_a_port_stays_while_its_machine_can_not_be_removed(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.faults.when = lambda where: where == "before remove machine-a"
    rig.wish(no=[make.guest("a")])
    rig.settle(60)
    assert list(rig.hardware.ports) == [make.nic("a")]
    assert rig.server.vlans == (100,)
    rig.faults.when = lambda _where: False
    rig.settle(400)
    assert rig.server.vlans == ()
    assert not rig.hardware.mishaps


def test_a_port_stays_while_an_unknown_guest_runs(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.ledger.held = None
    rig.restart(alone=True)
    rig.faults.when = lambda where: where == "before remove machine-a"
    rig.agent.receive(make.whole(5))
    rig.settle(60)
    assert list(rig.hardware.ports) == [make.nic("a")]
    rig.faults.when = lambda _where: False
    rig.settle(400)
    assert not rig.hardware.ports
    assert not rig.hardware.mishaps


def test_a_port_comes_to_a_running_machine_and_goes_again(rig) -> None:
    one, other = make.port("a"), make.port("b", vlan=101, position=3)
    rig.wish(make.guest("a", ports=(one,)))
    rig.step()
    rig.wish(make.guest("a", generation=2, ports=(one, other)))
    rig.settle(30)
    runs = rig.hardware.guests[make.machine("a")].runs
    assert [(port.mac, port.place) for port in runs.ports] == [(one.mac, 0), (other.mac, 3)]
    assert set(rig.hardware.ports) == {make.nic("a"), make.nic("b")}
    rig.wish(make.guest("a", generation=3, ports=(one,)))
    rig.settle(30)
    assert set(rig.hardware.ports) == {make.nic("a")}
    assert rig.server.vlans == (100,)
    assert (rig.server.said("a").generation, rig.starts("a")) == (3, 1)
    assert not rig.hardware.mishaps


def test_a_port_stays_until_its_machine_lets_go_of_it(rig) -> None:
    two = (make.port("a"), make.port("b", vlan=101))
    rig.wish(make.guest("a", ports=two))
    rig.step()
    rig.hardware.guests[make.machine("a")].clings = True
    rig.wish(make.guest("a", generation=2, ports=two[:1]))
    rig.settle(30)
    assert set(rig.hardware.ports) == {make.nic("a"), make.nic("b")}
    said = rig.server.said("a")
    assert (said.state, said.generation) == (GuestState.RUNNING, 1)
    assert "does not let go" in said.told
    rig.hardware.guests[make.machine("a")].clings = False
    rig.settle(400)
    assert set(rig.hardware.ports) == {make.nic("a")}
    assert rig.server.said("a").generation == 2
    assert not rig.hardware.mishaps


def test_a_detached_port_is_told_gone_only_when_it_is_unplugged(rig) -> None:
    two = (make.port("a"), make.port("b", vlan=101))
    rig.wish(make.guest("a", ports=two))
    rig.step()
    rig.faults.when = lambda where: where == "before remove nic-b"
    rig.wish(make.guest("a", generation=2, ports=two[:1]))
    rig.settle(30)
    rig.restart()
    rig.settle(30)
    assert rig.server.said("a").generation == 1, "others may have its address when this is told"
    rig.faults.when = lambda _where: False
    rig.settle(400)
    assert rig.server.said("a").generation == 2
    assert set(rig.hardware.ports) == {make.nic("a")}


def test_a_limit_changes_while_the_machine_runs(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(make.guest("a", generation=2, ports=(make.port("a", rate_kbps=5_000),)))
    rig.step()
    assert rig.hardware.ports[make.nic("a")].rate_kbps == 5_000
    assert rig.starts("a") == 1


def test_a_port_that_can_not_be_made_is_told_and_holds_up_nobody(rig) -> None:
    rig.faults.when = lambda where: where == "before ensure nic-a"
    rig.wish(make.guest("a"), make.guest("b"))
    rig.settle(10)
    assert rig.runs("b")
    said = rig.server.said("a")
    assert said.state is GuestState.FAILED
    assert said.told.startswith("port nic-a: ")


def test_ports_of_appliances_are_left_to_them(rig) -> None:
    rig.wish(make.appliance("a"), make.guest("a"))
    rig.step()
    rig.wish(no=[make.guest("a")])
    rig.settle(30)
    assert {port.vlan for port in rig.hardware.ports.values()} == {100, 50}
    assert rig.server.appliances[make.network("a")].running


def test_a_silent_switch_stops_nothing_and_starts_nothing(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    deaf = rig.drivers.network

    def refuse():
        raise Unavailable("the switch does not answer")

    deaf.ports = deaf.vlans = refuse
    rig.wish(make.guest("b"), make.off("a"), make.guest("c", ports=()))
    rig.settle(30)
    assert not rig.runs("b")
    assert "the switch does not answer" in rig.server.said("b").told
    assert rig.runs("c")
    assert rig.server.said("a").state is GuestState.STOPPED
    assert list(rig.hardware.ports) == [make.nic("a")]
    del deaf.ports, deaf.vlans
    rig.settle(30)
    assert rig.runs("b")
    assert make.nic("a") not in rig.hardware.ports


def test_a_port_stays_under_a_machine_that_runs_though_the_ledger_was_lost(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.disobey(make.machine("a"))
    rig.ledger.held = None
    rig.restart(alone=True)
    rig.agent.receive(make.whole(5, make.off("a", generation=5)))
    rig.step()
    assert rig.server.said("a").state is GuestState.STOPPING
    assert list(rig.hardware.ports) == [make.nic("a")]
    assert not rig.hardware.mishaps


def test_a_network_with_a_vni_leads_where_it_is_wished_to_and_nowhere_when_it_is_not(rig) -> None:
    wish = make.tunnel("red", vni=70_001, hosts=("10.9.0.2", "10.9.0.3"))
    rig.wish(make.guest("a", ports=(make.port("a", vlan=70_001),)), wish)
    rig.step()
    assert rig.hardware.tunnels == {
        70_001: Reach(70_001, frozenset({"10.9.0.2", "10.9.0.3"}), 1450)
    }
    assert rig.server.vlans == (70_001,)
    rig.wish(replace(wish, hosts=("10.9.0.3",)), make.tunnel("blue", vni=70_002))
    rig.step()
    assert {vni: reach.hosts for vni, reach in rig.hardware.tunnels.items()} == {
        70_001: {"10.9.0.3"},
        70_002: frozenset(),
    }
    rig.wish(no=[wish])
    rig.step()
    assert list(rig.hardware.tunnels) == [70_002]
    rig.hardware.tunnels.clear()  # as an operator's hand might
    rig.settle(60)
    assert list(rig.hardware.tunnels) == [70_002]


def test_a_tunnel_that_can_not_be_made_is_tried_again_and_holds_up_nothing(rig) -> None:
    rig.faults.when = lambda where: "reach" in where
    rig.wish(make.guest("a"), make.tunnel("red", vni=70_001))
    rig.settle(60)
    assert rig.runs("a")
    assert not rig.hardware.tunnels
    rig.faults.when = lambda _where: False
    rig.settle(60)
    assert list(rig.hardware.tunnels) == [70_001]
