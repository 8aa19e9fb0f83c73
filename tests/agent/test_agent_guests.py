"""What becomes of guests: started, stopped, crashed, halted, removed; and what is told of them."""

import pytest

from agent import make_agent as make
from agent.make_agent import Rig
from arable.agent.guests import GRACE_SECONDS, STABLE_SECONDS
from arable.domain.manifest import GuestState, Power
from arable.drivers.faults import Faults


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_machine_that_is_wished_for_runs_after_one_step(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    assert rig.runs("a")
    said = rig.server.said("a")
    assert (said.state, said.generation, said.boots, said.told) == (GuestState.RUNNING, 1, 1, "")


def test_a_machine_starts_with_its_disks_its_seed_and_its_ports(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    runs = rig.hardware.guests[make.machine("a")].runs
    assert [(disk.serial, disk.read_only) for disk in runs.disks] == [
        ("a", False),
        ("cidata", True),
    ]
    assert [port.device for port in runs.ports] == ["tapnic-a"]
    assert rig.hardware.ports[make.nic("a")].address == "10.1.1.10"
    assert rig.depot.fetched == [make.PART.sha256]


def test_a_machine_that_is_already_off_when_it_is_to_be_off_is_told_so(rig) -> None:
    rig.wish(make.off("a", generation=1))
    rig.step()
    assert make.machine("a") not in rig.hardware.guests
    assert rig.server.said("a").state is GuestState.STOPPED
    assert rig.server.said("a").generation == 1


def test_a_machine_is_shut_down_when_it_is_no_longer_to_run(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(make.off("a"))
    rig.step()
    assert not rig.runs("a")
    assert rig.server.said("a").state is GuestState.STOPPED
    assert rig.server.said("a").generation == 2


def test_a_machine_that_does_not_obey_is_asked_and_after_a_grace_its_plug_is_pulled(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.disobey(make.machine("a"))
    rig.wish(make.off("a"))
    rig.step()
    assert rig.server.said("a").state is GuestState.STOPPING
    rig.after(GRACE_SECONDS - 1)
    assert rig.runs("a")
    rig.after(1)
    assert not rig.runs("a")
    assert rig.server.said("a").state is GuestState.STOPPED


def test_a_machine_whose_plug_is_to_be_pulled_is_not_asked(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.disobey(make.machine("a"))
    rig.wish(make.off("a", force=True))
    rig.step()
    assert not rig.runs("a")


def test_force_may_come_later_than_the_wish_to_stop(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.disobey(make.machine("a"))
    rig.wish(make.off("a"))
    rig.step()
    rig.wish(make.off("a", generation=3, force=True))
    rig.step()
    assert not rig.runs("a")
    assert rig.server.said("a").generation == 3


def test_a_machine_is_started_again_when_it_is_to_run_again(rig) -> None:
    for wish in (make.guest("a"), make.off("a"), make.guest("a", generation=3)):
        rig.wish(wish)
        rig.step()
    assert rig.runs("a")
    assert rig.starts("a") == 2
    assert rig.server.said("a").generation == 3


def test_a_reboot_that_was_asked_for_happens_once(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(make.guest("a", generation=2, boots=2))
    rig.settle(60)
    assert rig.starts("a") == 2
    assert rig.server.said("a").boots == 2


def test_a_change_of_a_running_machine_waits_for_its_next_boot(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(make.guest("a", generation=2, memory_mib=512))
    rig.step()
    kept = rig.hardware.guests[make.machine("a")]
    assert (kept.starts, kept.runs.memory_mib, kept.guest.memory_mib) == (1, 256, 512)
    assert rig.server.said("a").generation == 2


def test_a_machine_that_shuts_itself_down_stays_off(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.power_off_by_guest(make.machine("a"))
    rig.settle(600)
    assert not rig.runs("a")
    said = rig.server.said("a")
    assert (said.state, said.generation) == (GuestState.STOPPED, 1)
    assert "itself" in said.told


def test_a_machine_that_shut_itself_down_stays_off_over_restarts_of_agent_and_host(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"))
    rig.step()
    rig.hardware.power_off_by_guest(make.machine("a"))
    rig.step()
    rig.restart()
    rig.settle(60)
    assert not rig.runs("a")
    rig.hardware.lose_power()
    rig.restart(alone=True)
    rig.settle(60)
    assert not rig.runs("a")
    assert rig.runs("b")


def test_a_machine_that_shut_itself_down_while_the_agent_was_away_stays_off(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.power_off_by_guest(make.machine("a"))
    rig.restart()
    rig.settle(60)
    assert not rig.runs("a")
    assert rig.server.said("a").state is GuestState.STOPPED


@pytest.mark.parametrize("change", [{"generation": 2}, {"generation": 2, "boots": 2}])
def test_a_machine_that_shut_itself_down_starts_again_when_its_wish_changes(rig, change) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.power_off_by_guest(make.machine("a"))
    rig.step()
    rig.wish(make.guest("a", **change))
    rig.step()
    assert rig.runs("a")
    assert rig.server.said("a").state is GuestState.RUNNING


def test_a_machine_that_was_asked_to_stop_and_then_to_run_is_not_taken_for_halted(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.disobey(make.machine("a"))
    rig.wish(make.off("a"))
    rig.step()
    rig.wish(make.guest("a", generation=3))
    rig.step()
    rig.hardware.disobey(make.machine("a"), obeys=True)  # only now does it do as it was asked
    assert not rig.runs("a")
    rig.step()
    assert rig.runs("a")


def test_a_machine_that_changed_its_mind_long_ago_may_shut_itself_down(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.disobey(make.machine("a"))
    rig.wish(make.off("a"))
    rig.step()
    rig.wish(make.guest("a", generation=3))
    rig.settle(4 * GRACE_SECONDS)
    rig.hardware.power_off_by_guest(make.machine("a"))
    rig.settle(60)
    assert not rig.runs("a")


def test_a_machine_that_crashes_is_started_again(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.crash(make.machine("a"))
    rig.step()
    assert rig.server.said("a").state is GuestState.FAILED
    assert "without being asked" in rig.server.said("a").told
    rig.after(1)
    assert rig.runs("a")
    assert rig.server.said("a").state is GuestState.RUNNING


def test_a_machine_that_crashes_again_and_again_waits_longer_each_time(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    waits = []
    for _ in range(10):
        rig.hardware.crash(make.machine("a"))
        began = rig.clock.monotonic()
        rig.step()
        while not rig.runs("a"):
            rig.after(1)
        waits.append(round(rig.clock.monotonic() - began))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert rig.server.said("a").tries == 10
    rig.settle(STABLE_SECONDS + 30)
    assert rig.server.said("a").tries == 0


def test_crashes_are_remembered_over_a_restart_of_the_agent(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    for _ in range(3):
        rig.hardware.crash(make.machine("a"))
        rig.settle(30)
    rig.restart()
    rig.step()
    assert rig.server.said("a").tries == 3


def test_all_machines_start_again_after_a_power_cut_without_a_server(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"), make.off("c"), make.appliance("a"))
    rig.step()
    rig.hardware.lose_power()
    rig.restart(alone=True)
    rig.settle(30)
    assert (rig.runs("a"), rig.runs("b"), rig.runs("c")) == (True, True, False)
    assert make.network("a") in rig.hardware.appliances


def test_a_machine_no_longer_wished_for_is_removed_and_told_gone(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"))
    rig.step()
    rig.wish(no=[make.guest("a")])
    rig.step()
    assert list(rig.hardware.guests) == [make.machine("b")]
    assert rig.server.gone == {make.machine("a")}


def test_a_machine_that_was_never_here_is_told_gone_too(rig) -> None:
    rig.wish(make.guest("a"))
    rig.wish(no=[make.guest("a")])
    rig.step()
    assert rig.server.gone == {make.machine("a")}
    assert not rig.hardware.guests


def test_a_machine_that_can_not_start_says_why_and_holds_up_nobody(rig) -> None:
    rig.wish(make.guest("a", cpus=0), make.guest("b"))
    rig.step()
    said = rig.server.said("a")
    assert (said.state, said.tries) == (GuestState.FAILED, 1)
    assert "no CPU" in said.told
    assert rig.runs("b")


def test_a_machine_that_failed_is_tried_at_once_when_its_wish_changes(rig) -> None:
    rig.wish(make.guest("a", cpus=0))
    rig.settle(200)
    rig.wish(make.guest("a", generation=2))
    rig.step()
    assert rig.runs("a")


def test_a_machine_without_room_starts_as_soon_as_another_is_off() -> None:
    rig = Rig(memory_mib=300)
    rig.wish(make.guest("a"), make.guest("b"))
    rig.settle(200)
    assert (rig.runs("a"), rig.runs("b")) == (True, False)
    assert "MiB" in rig.server.said("b").told
    rig.wish(make.off("a"))
    rig.step()
    rig.step()
    assert rig.runs("b")


def test_a_lost_answer_of_the_hypervisor_is_seen_through_at_the_next_look() -> None:
    rig = Rig(Faults(when=lambda where: where == "after ensure machine-a"))
    rig.wish(make.guest("a"))
    rig.step()
    assert rig.runs("a")
    rig.step()
    assert rig.server.said("a").state is GuestState.RUNNING
    assert rig.server.said("a").told == ""
    assert rig.starts("a") == 1


def test_an_agent_without_a_manifest_touches_nothing_and_tells_what_it_sees(rig) -> None:
    rig.wish(make.guest("a"), make.off("b"))
    rig.step()
    rig.ledger.held = None
    rig.restart(alone=True)
    rig.settle(100)
    assert rig.runs("a")
    assert rig.hardware.ports
    assert rig.server.said("a").state is GuestState.RUNNING
    assert rig.server.reports[-1].generation == 0


def test_a_host_without_a_hypervisor_says_so(rig) -> None:
    rig.drivers = rig.agent.drivers
    alone = make.Drivers(network=rig.drivers.network, pools=rig.drivers.pools)
    agent = make.Agent(
        make.HOST,
        make.MemoryLedger(),
        alone,
        rig.clock,
        rig.depot.fetch,
        inventory=lambda: make.INVENTORY,
    )
    agent.receive(make.whole(1, make.guest("a"), make.appliance("a")))
    report = agent.step()
    assert "hypervisor" in report.guests[0].told
    assert report.guests[0].state is GuestState.PREPARING
    assert "runtime for appliances" in report.appliances[0].told


def test_a_wish_to_be_off_of_a_crashed_machine_is_fulfilled(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.crash(make.machine("a"))
    rig.wish(make.guest("a", generation=2, power=Power.OFF))
    rig.settle(100)
    assert not rig.runs("a")
    assert rig.server.said("a").state is GuestState.STOPPED
