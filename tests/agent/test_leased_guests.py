"""Guests with shared disks: started by a lease, kept by renewals, ended by the watchdog, never running twice."""

import pytest

from agent.leased_world import LENGTH, PLACE, M, V, World, export, guest
from arable.domain.manifest import ExportState, GuestState, Power
from arable.drivers.storage.leases import Held
from arable.runtime.entropy import Entropy


@pytest.fixture
def world() -> World:
    return World()


def started(world: World) -> None:
    world.place(1, world.a)
    world.pass_(5)
    assert world.a.runs()


def test_a_guest_starts_when_its_host_has_the_lease(world) -> None:
    started(world)
    assert world.a.server.guests[M].state is GuestState.RUNNING
    seen = world.storage.server.exports[M]
    assert (seen.state, seen.epoch, seen.holder) == (ExportState.HELD, 1, world.a.name)
    assert seen.generation == 1


def test_a_host_without_the_right_does_not_start_it_and_says_why(world) -> None:
    world.storage.server.wish(export(1, world.a.name))
    world.b.server.wish(guest(1))
    world.pass_(2 * LENGTH)
    assert world.running() == 0
    assert "right to run" in world.b.server.guests[M].told


def test_no_guest_with_a_lease_starts_without_a_watchdog(world) -> None:
    world.a.watched = False
    world.place(1, world.a)
    world.pass_(10)
    assert not world.a.runs()
    assert "watchdog" in world.a.server.guests[M].told
    world.a.watched = True
    world.pass_(5)
    assert world.a.runs()


def test_renewals_keep_it_running_for_as_long_as_one_likes(world) -> None:
    started(world)
    world.cut.clear()
    world.pass_(10 * LENGTH)
    assert world.a.hardware.guests[M].starts == 1
    assert world.a.watchdog.killed == 0


def test_restarts_of_both_agents_are_not_noticed(world) -> None:
    started(world)
    for _ in range(3):
        world.storage.restart()
        world.a.restart()
        world.pass_(LENGTH)
    assert world.a.hardware.guests[M].starts == 1
    assert world.a.watchdog.killed == 0


def test_a_host_that_can_not_renew_has_its_guest_killed_before_another_may_start_it(world) -> None:
    started(world)
    world.cut.add(world.a.name)
    world.place(2, world.b)
    world.pass_(LENGTH - 12)
    assert world.a.runs(), "for as long as it was promised"
    assert not world.b.runs()
    world.pass_(18)
    assert not world.a.runs()
    assert world.b.runs()
    assert world.a.watchdog.killed == 1


def test_a_frozen_agent_does_not_keep_its_guest_running(world) -> None:
    started(world)
    world.a.frozen = True
    world.place(2, world.b)
    world.pass_(LENGTH + 5)
    assert world.b.runs()
    world.a.frozen = False
    world.pass_(2 * LENGTH)
    assert world.b.runs()
    assert not world.a.runs()
    assert M not in world.a.hardware.guests, "its wish is gone, and so is it"


def test_a_holder_that_hears_of_a_new_epoch_gives_way_at_once(world) -> None:
    started(world)
    world.place(2, world.b)
    world.pass_(LENGTH / 2)
    assert world.b.runs()


def test_a_host_known_to_be_without_power_need_not_be_waited_for(world) -> None:
    started(world)
    world.a.power(on=False)
    world.place(2, world.b, fenced=world.a.name)
    world.pass_(5)
    assert world.b.runs()


def test_a_guest_that_is_switched_off_lets_go_and_may_start_elsewhere_at_once(world) -> None:
    started(world)
    world.a.server.wish(guest(1, 2, Power.OFF))
    world.pass_(5)
    assert world.storage.server.exports[M].state is ExportState.FREE
    assert not world.a.deadlines.held
    world.place(2, world.b)
    world.pass_(5)
    assert world.b.runs()


def test_the_same_host_may_have_the_next_epoch(world) -> None:
    started(world)
    world.place(2, world.a)
    world.pass_(LENGTH)
    assert world.a.runs()
    disk = world.a.hardware.guests[M].runs.disks[0]
    assert disk.nbd is not None
    assert disk.nbd.name == f"{V}.e2"


def test_a_storage_host_that_was_away_for_a_moment_is_not_noticed(world) -> None:
    started(world)
    world.storage.frozen = True
    world.pass_(LENGTH / 3)
    world.storage.frozen = False
    world.pass_(2 * LENGTH)
    assert world.a.hardware.guests[M].starts == 1


def test_a_storage_host_without_power_costs_its_own_guests_alone_and_they_come_back(world) -> None:
    started(world)
    world.storage.off = True
    world.storage.exports.lose_power()
    world.pass_(2 * LENGTH)
    assert not world.a.runs()
    world.storage.off = False
    world.storage.restart()
    world.pass_(3 * LENGTH)
    assert world.a.runs()


def test_dead_management_servers_stop_nothing(world) -> None:
    started(world)
    for host in (world.storage, world.a, world.b):
        host.step = lambda host=host, **_: type(host).step(host, connected=False)
    world.pass_(20 * LENGTH)
    assert world.a.hardware.guests[M].starts == 1


def test_a_manifest_that_forgot_the_machine_takes_no_lease_away(world) -> None:
    started(world)
    world.storage.server.wish()
    world.pass_(3 * LENGTH)
    assert world.a.hardware.guests[M].starts == 1
    assert world.storage.server.exports[M].state is ExportState.HELD


def test_a_lease_that_nobody_wished_for_when_its_time_was_over_is_asked_for_anew(world) -> None:
    """The storage host may begin anew without its wishes, while the holder can't reach it."""
    started(world)
    world.storage.server.wish()
    world.cut.add(world.a.name)
    world.pass_(2 * LENGTH)
    assert world.storage.pool.leases.record(M).held is Held.FREE
    assert not world.a.runs()
    world.cut.clear()
    world.pass_(LENGTH)
    assert not world.a.runs(), "nobody has said that it may"
    world.storage.server.wish(export(1, world.a.name))
    world.pass_(LENGTH)
    assert world.a.runs()


def test_the_volume_is_made_from_its_image_where_it_is_kept(world) -> None:
    started(world)
    assert list(world.storage.pool.volumes()) == [V]
    assert PLACE.host == world.storage.name
    assert not world.a.hardware.pools[world.a.drivers.pools[0].pool].volumes


@pytest.mark.parametrize("seed", [str(n) for n in range(20)])
def test_a_machine_never_runs_twice_whatever_happens_and_runs_in_the_end(seed: str) -> None:
    """Freezes, cuts, restarts, power cuts and new placements, by chance; `World.tick` judges at every step."""
    dice = Entropy(seed).random
    world = World()
    epoch, holder, fenced = 1, world.a, None
    world.place(epoch, holder)
    for _ in range(60):
        host = dice.choice([world.a, world.b])
        match dice.randrange(9):
            case 0:
                host.frozen = not host.frozen
            case 1:
                world.cut ^= {host.name}
            case 2 if not host.off:
                host.restart()
            case 3 if host.name != fenced or world.storage.pool.leases.record(M).epoch == epoch:
                host.power(
                    on=host.off
                )  # but who was said to be without power, until that was heard
            case 4:
                fenced = holder.name if holder.off else None
                epoch, holder = epoch + 1, host
                world.place(epoch, holder, fenced=fenced)
            case 5:
                world.storage.restart()
            case 6:
                world.storage.frozen = not world.storage.frozen
            case 7:
                world.storage.exports.lose_power()
        world.pass_(dice.choice([0.5, 2, 5, 12, 35]))
    world.cut.clear()
    world.storage.frozen = False
    for host in world.computes.values():
        host.frozen = False
        host.power(on=True)
    world.place(epoch + 1, world.b)
    world.pass_(20 * LENGTH)
    assert world.b.runs()
