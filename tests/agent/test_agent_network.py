"""Ports come before guests and go after them, and a VLAN is told gone only then (rule 3)."""

import pytest

from agent import make_agent as make
from agent.make_agent import Rig
from arable.domain.errors import Unavailable
from arable.domain.manifest import GuestState


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


def test_a_port_that_a_running_machine_was_started_with_outlives_its_wish(rig) -> None:
    two = (make.port("a"), make.port("b", vlan=101))
    rig.wish(make.guest("a", ports=two))
    rig.step()
    rig.wish(make.guest("a", generation=2, ports=two[:1]))
    rig.settle(30)
    assert set(rig.hardware.ports) == {make.nic("a"), make.nic("b")}
    rig.wish(make.guest("a", generation=3, boots=2, ports=two[:1]))
    rig.settle(30)
    assert set(rig.hardware.ports) == {make.nic("a")}
    assert rig.server.vlans == (100,)
    assert not rig.hardware.mishaps


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
