"""Disks that are given to guests that run, and taken from them; local ones, and shared ones within one lease."""

import pytest

from agent import make_agent as make
from agent.leased_world import LENGTH, PLACE, SHARED, M, V, World, disk, export, guest
from agent.make_agent import Rig
from arable.domain.ids import VolumeId
from arable.domain.manifest import DiskWish, GuestState
from arable.domain.units import MIB

W = VolumeId("volume-w")


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.wish(make.guest("a"))
    rig.settle(30)
    return rig


def more(name: str = "more") -> DiskWish:
    return make.disk(name, source=None, position=1)


def plugged(rig: Rig, name: str = "a") -> list[str]:
    runs = rig.hardware.guests[make.machine(name)].runs
    assert runs is not None
    return [disk.serial for disk in runs.disks if disk.position]


def test_a_guest_that_runs_gets_a_disk_and_gives_it_back(rig) -> None:
    with_it = make.guest("a", generation=2, disks=(make.disk("a"), more()))
    rig.wish(with_it)
    rig.settle(30)
    assert plugged(rig) == ["more"]
    assert rig.server.said("a").generation == 2
    rig.restart()
    rig.wish(make.guest("a", generation=3))
    rig.settle(30)
    assert plugged(rig) == []
    assert rig.server.said("a").generation == 3
    assert rig.starts("a") == 1
    assert make.volume("more") in rig.hardware.pools[make.POOL].volumes, "it is kept"


def test_a_disk_that_was_let_go_can_be_erased_while_the_guest_runs_on(rig) -> None:
    rig.wish(make.guest("a", generation=2, disks=(make.disk("a"), more())))
    rig.settle(30)
    kept = rig.hardware.guests[make.machine("a")]
    kept.clings = True
    rig.wish(make.guest("a", generation=3), make.scrap("more"))
    rig.settle(60)
    assert plugged(rig) == ["more"]
    assert rig.server.said("a").generation == 2
    assert rig.server.said("a").state is GuestState.RUNNING
    assert make.volume("more") in rig.hardware.pools[make.POOL].volumes, "the guest has it still"
    kept.clings = False
    rig.settle(60)
    assert rig.server.said("a").generation == 3
    assert make.volume("more") not in rig.hardware.pools[make.POOL].volumes
    assert not rig.hardware.mishaps


def test_a_disk_goes_from_one_guest_to_another_whoever_hears_first(rig) -> None:
    rig.wish(make.guest("b"))
    rig.wish(make.guest("a", generation=2, disks=(make.disk("a"), more())))
    rig.settle(30)
    rig.wish(make.guest("a", generation=3))
    rig.settle(10)
    rig.wish(make.guest("b", generation=2, disks=(make.disk("b"), more())))
    rig.settle(30)
    assert (plugged(rig, "a"), plugged(rig, "b")) == ([], ["more"])
    assert not rig.hardware.mishaps


def further(*, shared: bool) -> DiskWish:
    return disk(volume=W, position=1, shared=PLACE if shared else None)


def wish(world: World, generation: int, *, has: bool, served: bool) -> None:
    own, there = (disk(shared=PLACE),), (disk(source=make.PART),)
    world.a.server.wish(
        guest(1, generation, disks=(*own, *([further(shared=True)] if has else [])))
    )
    disks = (*there, *([further(shared=False)] if served else []))
    world.storage.server.wish(export(1, world.a.name, generation=generation, disks=disks))


@pytest.fixture
def world() -> World:
    world = World()
    world.place(1, world.a)
    world.pass_(5)
    assert world.a.runs()
    return world


def test_a_shared_disk_comes_and_goes_within_the_lease(world) -> None:
    wish(world, 2, has=True, served=True)
    world.pass_(5)
    assert world.a.server.guests[M].generation == 2
    assert world.storage.exports.serving == {V: (1, world.a.name), W: (1, world.a.name)}
    wish(world, 3, has=False, served=True)
    world.pass_(5)
    assert world.a.server.guests[M].generation == 3
    assert W in world.storage.exports.serving, "until the guest has let go of it"
    wish(world, 4, has=False, served=False)
    world.pass_(5)
    assert world.storage.server.exports[M].generation == 4
    assert world.storage.exports.serving == {V: (1, world.a.name)}
    world.pass_(2 * LENGTH)
    assert world.a.hardware.guests[M].starts == 1


def test_a_shared_disk_that_can_not_be_had_costs_the_guest_nothing(world) -> None:
    world.a.server.wish(guest(1, 2, disks=(disk(shared=PLACE), further(shared=True))))
    world.pass_(3 * LENGTH)  # its storage host does not hear of it
    assert world.a.runs()
    assert world.a.watchdog.killed == 0
    seen = world.a.server.guests[M]
    assert (seen.state, seen.generation) == (GuestState.RUNNING, 1)
    assert "is not served" in seen.told


def test_agents_that_die_in_between_begin_anew_and_come_to_the_same(world) -> None:
    for generation, (has, served) in enumerate([(True, True), (False, True), (False, False)], 2):
        wish(world, generation, has=has, served=served)
        for restart in (world.storage.restart, world.a.restart):
            world.pass_(0.5)
            restart()
        world.pass_(10)
        assert world.a.server.guests[M].generation == generation
    assert world.storage.exports.serving == {V: (1, world.a.name)}
    assert world.a.hardware.guests[M].starts == 1


def test_a_shared_disk_that_can_not_be_served_costs_the_guest_nothing(world) -> None:
    world.storage.exports.faults.when = lambda where: f"before serve {W}" in where
    wish(world, 2, has=True, served=True)
    world.pass_(3 * LENGTH)
    assert world.a.runs()
    assert world.a.watchdog.killed == 0
    assert world.a.server.guests[M].generation == 1
    world.storage.exports.faults.when = lambda _where: False
    world.pass_(10 * LENGTH)  # after so many failures the next try is a while off
    assert world.a.server.guests[M].generation == 2


def sizes(world: World) -> dict[str, int]:
    runs = world.a.hardware.guests[M].runs
    assert runs is not None
    return {disk.serial: disk.bytes // MIB for disk in runs.disks}


def grown(world: World, generation: int, mib: int) -> None:
    """Both hosts are told that the machine's disk is so large."""
    size = mib * MIB
    world.a.server.wish(guest(1, generation, disks=(disk(shared=PLACE, bytes=size),)))
    there = (disk(source=make.PART, bytes=size),)
    world.storage.server.wish(export(1, world.a.name, generation=generation, disks=there))


def test_a_local_disk_grows_in_the_guest_that_runs_and_never_shrinks(rig) -> None:
    for generation, mib in ((2, 700), (3, 600)):
        root = make.disk("a", bytes=mib * MIB)
        rig.wish(make.guest("a", generation=generation, disks=(root,)))
        rig.settle(30)
        assert rig.server.said("a").generation == generation
        runs = rig.hardware.guests[make.machine("a")].runs
        assert runs is not None
        assert runs.disks[0].bytes == 700 * MIB
        assert rig.hardware.pools[make.POOL].volumes[make.volume("a")].bytes == 700 * MIB
    assert rig.starts("a") == 1


def test_a_shared_disk_grows_in_the_guest_that_runs_once_it_has_grown_where_it_is(world) -> None:
    size = 64 * MIB
    world.a.server.wish(guest(1, 2, disks=(disk(shared=PLACE, bytes=size),)))
    world.pass_(10)
    assert world.a.server.guests[M].generation == 1
    assert "has not grown yet" in world.a.server.guests[M].told
    grown(world, 2, 64)
    world.pass_(LENGTH)
    assert world.a.server.guests[M].generation == 2
    assert sizes(world) == {"v": 64}
    assert world.storage.exports.serving == {V: (1, world.a.name)}
    assert world.a.hardware.guests[M].starts == 1


def test_a_shared_disk_that_can_not_grow_is_served_on_as_it_was(world) -> None:
    world.storage.faults.when = lambda where: f"ensure {V}" in where
    grown(world, 2, 64)
    world.pass_(2 * LENGTH)
    assert world.storage.exports.serving == {V: (1, world.a.name)}
    assert (sizes(world), world.a.server.guests[M].generation) == ({"v": 8}, 1)
    assert world.storage.server.exports[M].told


def test_nobody_is_cut_off_for_a_growth_that_there_is_no_room_for(world) -> None:
    passed: list[str] = []
    world.storage.exports.faults.when = lambda where: bool(passed.append(where))
    world.storage.hardware.pools[SHARED].total_bytes = 32 * MIB
    grown(world, 2, 64)
    world.pass_(2 * LENGTH)
    assert "more than the pool has" in world.storage.server.exports[M].told
    assert [where for where in passed if "cut" in where] == []
    assert world.a.runs()
    world.storage.hardware.pools[SHARED].total_bytes = 128 * MIB
    world.pass_(10 * LENGTH)
    assert sizes(world) == {"v": 64}


def test_a_shared_disk_grows_before_a_guest_starts_with_it(world) -> None:
    world.a.server.wish()
    world.pass_(10)
    assert not world.a.runs()
    grown(world, 2, 64)
    for host in (world.a, world.storage):
        host.restart()
    world.pass_(LENGTH)
    assert sizes(world) == {"v": 64}


@pytest.mark.parametrize("after", [0.5, 1.0, 1.5, 2.0])
def test_a_shared_disk_grows_whoever_dies_in_between(world, after) -> None:
    grown(world, 2, 64)
    for restart in (world.storage.restart, world.a.restart):
        world.pass_(after)
        restart()
    world.pass_(LENGTH)
    assert (sizes(world), world.a.server.guests[M].generation) == ({"v": 64}, 2)
    assert world.a.hardware.guests[M].starts == 1
