"""A storage host's manifest: fences come first, disks are made, and what is in use is not erased."""

import pytest

from agent import make_agent as make
from agent.leased_world import LENGTH, SHARED, M, V, World, disk, export, guest
from arable.domain.ids import MachineId, VolumeId
from arable.domain.manifest import DiskWish, ExportState, PartFormat, PartRole
from arable.domain.units import MIB
from arable.drivers.storage.leases import Held
from drivers import make_drivers


@pytest.fixture
def world() -> World:
    return World()


def held(world: World):
    return world.storage.pool.leases.record(M)


def started(world: World) -> None:
    world.place(1, world.a)
    world.pass_(5)
    assert world.a.runs()


def test_a_fence_does_not_wait_for_disks_that_can_not_be_made(world) -> None:
    started(world)
    missing = make_drivers.part(b"MZ nobody has this", format=PartFormat.RAW, role=PartRole.DISK)
    more = DiskWish(volume=VolumeId("volume-more"), pool=SHARED, bytes=MIB, source=missing)
    disks = (*export(2, world.b.name).disks, more)
    world.storage.server.wish(export(2, world.b.name, disks=disks))
    world.tick()
    assert held(world).held is Held.ENDING
    assert not world.storage.exports.serving
    world.pass_(LENGTH + 5)
    seen = world.storage.server.exports[M]
    assert seen.state is ExportState.FAILED
    assert seen.told


def test_a_cut_that_failed_is_tried_again_and_told(world) -> None:
    started(world)
    world.storage.exports.faults.when = lambda where: "cut" in where
    world.storage.server.wish(export(2, world.b.name))
    world.pass_(3)
    seen = world.storage.server.exports[M]
    assert seen.generation == 0, "not in force"
    assert seen.told
    world.storage.exports.faults.when = lambda _where: False
    world.pass_(LENGTH)
    assert world.storage.server.exports[M].generation == 2


def test_a_fence_does_not_wait_for_the_server_of_a_disk_that_hangs(world) -> None:
    started(world)
    world.storage.pool.hung.add(V)
    world.storage.server.wish(export(2, world.b.name))
    world.tick()
    assert held(world).held is Held.ENDING
    assert not world.storage.exports.serving
    assert world.storage.server.exports[M].told
    world.storage.pool.hung.clear()
    world.pass_(LENGTH)
    assert world.storage.server.exports[M].generation == 2


def test_disks_of_two_pools_or_of_none_here_are_refused_with_a_reason(world) -> None:
    alien = DiskWish(volume=V, pool=make.POOL, bytes=MIB)
    for disks in ((alien,), (), (alien, DiskWish(volume=V, pool=SHARED, bytes=MIB))):
        world.storage.server.wish(export(1, world.a.name, disks=disks))
        world.pass_(5)
        seen = world.storage.server.exports[M]
        assert seen.state is ExportState.FAILED
        assert "pool" in seen.told


def test_an_epoch_that_is_over_is_told_and_changes_nothing(world) -> None:
    started(world)
    world.storage.server.wish(export(5, world.a.name))
    world.pass_(1)
    world.storage.server.wish(export(4, world.b.name))
    world.pass_(2)
    seen = world.storage.server.exports[M]
    assert "over" in seen.told
    assert seen.generation == 0


def test_limits_are_kept_where_the_disk_is(world) -> None:
    disk = DiskWish(volume=V, pool=SHARED, bytes=MIB, iops=100, bytes_per_second=1000)
    world.storage.server.wish(export(1, world.a.name, disks=(disk,)))
    world.pass_(1)
    assert world.storage.pool.limits == {V: (100, 1000)}


def test_a_disk_grows_whether_or_not_it_is_in_use(world) -> None:
    started(world)
    larger = DiskWish(volume=V, pool=SHARED, bytes=64 * MIB)
    wish = export(1, world.a.name, generation=2, disks=(larger,))
    world.storage.server.wish(wish)
    world.pass_(3)
    assert world.storage.pool.volumes()[V].bytes == 64 * MIB
    assert world.storage.exports.serving == {V: (1, world.a.name)}
    world.a.server.wish()
    world.pass_(5)
    larger = DiskWish(volume=V, pool=SHARED, bytes=128 * MIB)
    world.storage.server.wish(export(1, world.a.name, generation=3, disks=(larger,)))
    world.pass_(3)
    assert world.storage.pool.volumes()[V].bytes == 128 * MIB
    assert world.storage.exports.serving == {}


def test_a_shared_disk_that_was_there_is_never_made_again(world) -> None:
    gone = DiskWish(volume=V, pool=SHARED, bytes=MIB, made=True)
    world.storage.server.wish(export(1, world.a.name, disks=(gone,)))
    world.pass_(3)
    assert world.storage.pool.volumes() == {}
    said = world.storage.server.exports[M]
    assert said.state is ExportState.FAILED
    assert "no blank one is put in its place" in said.told


def test_a_disk_that_its_holder_has_as_a_file_is_grown_by_that_one_alone(world) -> None:
    """Whoever else wrote to the file would find it locked, or tear it."""
    started(world)
    world.storage.pool.by_mount = True
    before = world.storage.pool.volumes()[V].bytes
    larger = DiskWish(volume=V, pool=SHARED, bytes=64 * MIB)
    world.storage.server.wish(export(1, world.a.name, generation=2, disks=(larger,)))
    world.pass_(3)
    assert world.storage.pool.volumes()[V].bytes == before
    assert world.storage.server.exports[M].generation == 2, "it is in force all the same"
    world.a.server.wish()
    world.pass_(5)
    world.storage.server.wish(export(1, world.a.name, generation=3, disks=(larger,)))
    world.pass_(3)
    assert world.storage.pool.volumes()[V].bytes == 64 * MIB, "once nobody has it"


def test_what_is_leased_or_wished_for_is_held(world) -> None:
    started(world)
    holds = world.storage.agent._exports.held
    assert holds() == {V}
    world.storage.server.wish()
    world.pass_(1)
    assert holds() == {V}, "nobody gets it anew, and who has it keeps it"
    world.a.server.wish()
    world.pass_(5)
    assert holds() == set()
    assert M not in world.storage.server.exports


def test_one_machines_trouble_is_its_own(world) -> None:
    other = MachineId("machine-n")
    started(world)
    good = export(1, world.a.name)
    bad = export(1, world.b.name, machine=other, disks=())
    world.storage.server.wish(good, bad)
    world.pass_(2 * LENGTH)
    assert world.a.hardware.guests[M].starts == 1
    assert world.storage.server.exports[other].state is ExportState.FAILED
    assert world.storage.server.exports[M].state is ExportState.HELD


def test_a_guest_whose_storage_can_not_serve_it_says_so(world) -> None:
    world.storage.exports.faults.when = lambda where: where.startswith("before serve")
    world.storage.server.wish(export(1, world.a.name))
    world.a.server.wish(guest(1))
    world.pass_(10)
    assert not world.a.runs()
    assert "simulated failure" in world.a.server.guests[M].told
    world.storage.exports.faults.when = lambda _where: False
    world.pass_(10)
    assert world.a.runs()


def test_a_disk_of_another_storage_zone_is_kept_from_its_machine_and_others_are_not(world) -> None:
    """Whatever the control plane wishes: by what it says itself, and by what was said of the disk before."""
    other = VolumeId("volume-other")
    mine = disk(source=make.PART, storage_zone="farm-a", zoned=5)

    def wished(epoch: int, **but):
        disks = (mine, DiskWish(volume=other, pool=SHARED, bytes=MIB, **but))
        wish = export(epoch, world.a.name, disks=disks, storage_zone="farm-a")
        world.storage.server.wish(wish)
        world.pass_(5)
        return world.storage.server.exports[M]

    world.place(1, world.a)
    world.storage.server.wish(export(1, world.a.name, disks=(mine,), storage_zone="farm-a"))
    world.pass_(5)
    seen = wished(1, storage_zone="farm-b", zoned=5)
    assert "another storage zone" in seen.told
    assert seen.generation == 0, "not in force"
    assert held(world).volumes == (V,)
    assert world.a.runs(), "it has its other disk"
    world.storage.pool.mask(other, "farm-b", 9)
    for zoned in (8, 9):
        assert "another storage zone" in wished(1, storage_zone="farm-a", zoned=zoned).told
        assert other not in world.storage.exports.serving
    fence = export(2, world.b.name, disks=(mine,), storage_zone="farm-a")
    world.storage.server.wish(fence)
    world.tick()
    assert held(world).held is Held.ENDING, "no fence waits for what was in vain before"


def test_a_disk_that_nobody_has_goes_to_another_storage_zone(world) -> None:
    world.storage.pool.mask(V, "farm-b", 9)
    mine = disk(source=make.PART, storage_zone="farm-a", zoned=10)
    world.storage.server.wish(export(1, world.a.name, disks=(mine,), storage_zone="farm-a"))
    world.a.server.wish(guest(1))
    world.pass_(5)
    assert world.a.runs()
    assert world.storage.pool.where(V, 1).storage_zone == "farm-a"
