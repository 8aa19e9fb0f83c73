"""Snapshots on a host: taken by whoever has the volume, set back by nobody who could lose by it, and never twice."""

import hashlib

import pytest

from agent import make_agent as make
from agent.leased_world import LENGTH, SHARED, M, V, World, export, guest
from agent.make_agent import POOL, Rig
from arable.agent.patience import Waiting
from arable.domain.errors import BadInput
from arable.domain.ids import HostId, OperationId, PoolId, SnapshotId
from arable.domain.manifest import GIVE_UP, MoveWish, Power
from arable.domain.snapshot import SnapshotAct, SnapshotWish
from arable.domain.units import MIB
from arable.drivers.faults import Faults
from arable.drivers.simhost import SimPool
from arable.drivers.storage.protocol import InUse
from arable.drivers.storage.sim import SimStorage

TAKE, DROP, RESTORE = SnapshotAct.TAKE, SnapshotAct.DROP, SnapshotAct.RESTORE
A = make.volume("a")


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.wish(make.guest("a"))
    rig.settle(30)
    disks(rig).contents[A] = "first"
    return rig


def disks(rig: Rig) -> SimPool:
    return rig.hardware.pools[POOL]


def done(rig: Rig, wish: SnapshotWish) -> bool:
    said = rig.server.snapshots.get(wish.operation)
    return said is not None and said.act is wish.act and said.done


def asked(rig: Rig, act: SnapshotAct, **but) -> SnapshotWish:
    wish = make.snapshot(act, **but)
    rig.wish(wish)
    rig.settle(30)
    return wish


def off(rig: Rig) -> None:
    """The machine is stopped, and its host has nothing more to do with it."""
    rig.wish(make.off("a"))
    rig.settle(120)
    rig.wish(no=[make.off("a")])
    rig.settle(30)


def test_of_a_guest_that_runs_it_is_taken_and_dropped_and_the_guest_runs_on(rig) -> None:
    taken = asked(rig, TAKE)
    assert done(rig, taken)
    assert disks(rig).kept[A] == {"snapshot-s": "first"}
    dropped = asked(rig, DROP)
    assert done(rig, dropped)
    assert disks(rig).kept[A] == {}
    assert rig.starts("a") == 1
    assert not rig.hardware.mishaps


def test_of_a_pool_of_files_it_is_taken_where_a_guest_has_the_file_open_and_nowhere_else(
    rig,
) -> None:
    kept_elsewhere = PoolId("pool-kept-elsewhere")
    idle = asked(rig, TAKE, name="idle", of="b", pool=kept_elsewhere)
    assert not done(rig, idle), "its machine is not here"
    going = make.guest(
        "a", generation=2, move=MoveWish(source=make.HOST, target=HostId("host-b"), epoch=2)
    )
    rig.wish(going)
    taken = asked(rig, TAKE, pool=kept_elsewhere)
    assert not done(rig, taken), "its machine is about to be elsewhere"
    rig.wish(make.guest("a", generation=3))
    rig.settle(30)
    assert done(rig, taken)
    assert disks(rig).kept[A] == {"snapshot-s": "first"}
    assert done(rig, asked(rig, DROP, pool=kept_elsewhere))
    assert disks(rig).kept[A] == {}
    assert rig.starts("a") == 1


def test_a_keeper_waits_for_who_has_the_file_open_and_gives_nothing_up(rig) -> None:
    off(rig)

    class Kept(SimStorage):
        by_mount = True
        open_elsewhere = True

        def take(self, volume, snapshot):
            if self.open_elsewhere:
                raise InUse(f"{volume} is open elsewhere")
            super().take(volume, snapshot)

    (pool,) = rig.drivers.pools
    pool.__class__ = Kept
    taken = asked(rig, TAKE)
    rig.settle(120)
    said = rig.server.snapshots[taken.operation]
    assert (said.done, said.tries) == (False, 0)
    assert "open elsewhere" in said.told
    pool.open_elsewhere = False
    rig.settle(30)
    assert done(rig, taken)


def test_of_a_volume_that_nobody_has_it_is_taken_too(rig) -> None:
    off(rig)
    assert done(rig, asked(rig, TAKE))
    assert done(rig, asked(rig, DROP))


def test_of_a_volume_that_nobody_makes_there_is_none(rig) -> None:
    """Its machine never started: whoever waited for a snapshot of it would wait for ever."""
    wish = asked(rig, TAKE, of="b")
    said = rig.server.snapshots[wish.operation]
    assert not said.done
    assert said.tries >= GIVE_UP
    assert "never made" in said.told


def test_what_is_set_back_is_as_it_was_and_only_once(rig) -> None:
    taken = asked(rig, TAKE)
    disks(rig).contents[A] = "second"
    off(rig)
    back = asked(rig, RESTORE)
    assert done(rig, back)
    assert disks(rig).contents[A] == "first"
    disks(rig).contents[A] = "third"
    rig.restart()  # what it did is forgotten, and the wish is still there
    rig.settle(30)
    assert done(rig, back)
    assert disks(rig).contents[A] == "third"
    assert taken.snapshot == back.snapshot


def test_nothing_is_set_back_under_a_guest_nor_while_one_is_wished_for(rig) -> None:
    asked(rig, TAKE)
    disks(rig).contents[A] = "second"
    back = asked(rig, RESTORE)
    said = rig.server.snapshots[back.operation]
    assert (said.done, said.told, said.tries) == (False, "its machine is not off yet", 0)
    rig.wish(make.off("a"))
    rig.settle(120)
    assert not rig.runs("a")
    assert disks(rig).contents[A] == "second"
    rig.wish(no=[make.off("a")])
    rig.settle(30)
    assert done(rig, back)
    assert disks(rig).contents[A] == "first"


def test_a_volume_that_is_not_made_yet_is_waited_for(rig) -> None:
    early = make.snapshot(TAKE, of="b")
    rig.wish(early)
    rig.settle(0.5)
    assert not done(rig, early)
    assert rig.server.snapshots[early.operation].tries < GIVE_UP
    rig.wish(make.guest("b"))
    rig.settle(30)
    assert done(rig, early)
    gone = asked(rig, DROP, of="nowhere")
    assert done(rig, gone)


def test_what_can_not_be_set_back_is_tried_a_few_times_and_then_no_more(rig) -> None:
    off(rig)
    back = asked(rig, RESTORE, name="unknown")
    rig.settle(1200)
    said = rig.server.snapshots[back.operation]
    assert (said.done, said.tries) == (False, 3)
    assert "no such snapshot" in said.told
    disks(rig).take(A, back.snapshot)
    disks(rig).contents[A] = "second"
    rig.settle(1200)
    assert disks(rig).contents[A] == "second", "whoever asked was told that it failed"


def test_what_takes_long_holds_up_nothing_and_nothing_is_done_with_its_volume_meanwhile(
    rig,
) -> None:
    off(rig)
    later: list = []
    rig.restart(copying=later.append)
    taken = asked(rig, TAKE)
    back = asked(rig, RESTORE)
    rig.wish(make.guest("b"))
    rig.settle(30)
    assert rig.runs("b")
    assert len(later) == 1
    assert not done(rig, taken)
    assert rig.server.snapshots[back.operation].told == "another snapshot is being taken or dropped"
    rig.wish(make.guest("a", generation=3), no=[back])
    rig.settle(30)
    assert not rig.runs("a")
    larger = make.guest("a", generation=4, disks=(make.disk("a", bytes=16 * MIB),))
    rig.wish(larger)
    rig.settle(30)
    assert not rig.runs("a")
    assert rig.server.said("a").told.startswith("waits for")
    assert disks(rig).volumes[A].bytes == 8 * MIB
    later.pop()()
    rig.settle(60)
    assert done(rig, taken)
    assert rig.runs("a")
    assert disks(rig).volumes[A].bytes == 16 * MIB
    assert not rig.hardware.mishaps


def test_a_volume_is_not_erased_while_a_snapshot_of_it_is_taken(rig) -> None:
    off(rig)
    later: list = []
    rig.restart(copying=later.append)
    taken = asked(rig, TAKE)
    rig.wish(make.scrap("a"), no=[taken])
    rig.settle(30)
    assert A in disks(rig).volumes
    later.pop()()
    rig.settle(30)
    assert A in rig.server.scrapped
    assert A not in disks(rig).volumes


def test_one_that_waits_for_its_volume_keeps_no_other_waiting(rig) -> None:
    wishes = [make.snapshot(TAKE, name, of) for name, of in (("x", "b"), ("s", "a"), ("y", "c"))]
    rig.wish(*wishes)
    rig.settle(30)
    assert [done(rig, wish) for wish in wishes] == [False, True, False]
    assert rig.agent.due() > rig.clock.monotonic()


def test_one_that_is_given_up_while_it_is_being_taken_does_not_stay(rig) -> None:
    """Its taking was not answered in time, and comes to its end later."""
    disks(rig).hangs = True
    taken = asked(rig, TAKE)
    assert not done(rig, taken)
    dropped = make.snapshot(DROP)
    rig.wish(dropped, no=[taken])
    rig.settle(30)
    assert not done(rig, dropped)
    disks(rig).hangs = False
    rig.settle(600)
    assert done(rig, dropped)
    disks(rig).take(A, SnapshotId("snapshot-later"))
    assert disks(rig).kept[A].keys() == {"snapshot-later"}


def test_a_copy_is_made_beside_the_agents_rounds_and_is_not_erased_under_it(rig) -> None:
    rig.wish(no=[asked(rig, TAKE)])
    later: list = []
    rig.restart(copying=later.append)
    wish = make.snapshot(SnapshotAct.COPY, target=make.volume("copy"))
    rig.wish(wish)
    rig.settle(30)
    assert len(later) == 1
    assert not done(rig, wish)
    rig.wish(make.scrap("copy"), no=[wish])
    rig.settle(30)
    assert make.volume("copy") not in rig.server.scrapped, "it is about to be there"
    later.pop()()
    rig.settle(30)
    assert make.volume("copy") in rig.server.scrapped
    assert make.volume("copy") not in disks(rig).volumes


def test_a_copy_that_fails_is_made_again_and_one_of_nothing_is_given_up(rig) -> None:
    asked(rig, TAKE)
    rig.faults.fail_at, rig.faults.passed = 0, 0
    wish = asked(rig, SnapshotAct.COPY, target=make.volume("copy"))
    assert done(rig, wish)
    assert disks(rig).contents[make.volume("copy")] == "first"
    rig.restart()
    rig.settle(30)
    assert done(rig, wish)
    nothing = asked(rig, SnapshotAct.COPY, name="unknown", target=make.volume("none"))
    said = rig.server.snapshots[nothing.operation]
    assert said.tries >= 3
    assert "no such snapshot" in said.told


def test_an_image_is_brought_beside_the_agents_rounds_and_again_until_somebody_has_it(rig) -> None:
    rig.wish(no=[asked(rig, TAKE)])
    later: list = []
    came: list = []

    def deliver(operation, flat) -> None:
        came.append((operation, hashlib.sha256(b"".join(flat.read())).hexdigest() == flat.sha256))
        if len(came) == 1:
            raise Waiting("no server is reached")
        if len(came) == 2:
            raise BadInput("it was refused")

    rig.restart(copying=later.append, deliver=deliver)
    wish = make.snapshot(SnapshotAct.BRING)
    rig.wish(wish, make.guest("b"))
    rig.settle(30)
    assert rig.runs("b")
    told = []
    for _ in range(3):
        assert not done(rig, wish)
        later.pop()()
        rig.settle(30)
        said = rig.server.snapshots[wish.operation]
        told.append((said.told, said.tries))
    assert told == [("no server is reached", 0), ("it was refused", 1), ("", 0)]
    assert done(rig, wish)
    assert came == [(wish.operation, True)] * 3
    nothing = make.snapshot(SnapshotAct.BRING, name="unknown")
    rig.wish(nothing, no=[wish])
    rig.settle(1)
    later.pop()()
    rig.step()
    assert "no such snapshot" in rig.server.snapshots[nothing.operation].told
    assert len(came) == 3


def test_it_is_the_same_wherever_it_fails_or_dies() -> None:
    """A failure before and after each effect; the agent is made anew after each."""

    def lived(fail_at: int | None) -> Faults:
        rig = Rig()
        rig.wish(make.guest("a"))
        rig.settle(30)
        disks(rig).contents[A] = "first"
        rig.faults.fail_at, rig.faults.passed = fail_at, 0
        wishes = [make.snapshot(TAKE), make.snapshot(TAKE, "other")]
        rig.wish(*wishes)
        rig.step()
        rig.restart()
        rig.settle(300)
        rig.wish(no=wishes)  # as is done when they are said to be there
        disks(rig).contents[A] = "second"
        off(rig)
        for wish in (make.snapshot(RESTORE), make.snapshot(DROP, "other")):
            wishes.append(wish)
            rig.wish(wish)
            rig.step()
            rig.restart()
            rig.settle(300)
        assert all(done(rig, wish) for wish in wishes), fail_at
        assert disks(rig).contents[A] == "first", fail_at
        assert disks(rig).kept[A] == {"snapshot-s": "first"}, fail_at
        assert not rig.hardware.mishaps
        return rig.faults

    points = lived(None).passed
    assert points >= 8
    for point in range(points):
        lived(point)


def shared(act: SnapshotAct, operation: str = "operation-1") -> SnapshotWish:
    return SnapshotWish(
        operation=OperationId(operation),
        act=act,
        snapshot=SnapshotId("snapshot-s"),
        volume=V,
        pool=SHARED,
        bytes=8 * MIB,
    )


@pytest.fixture
def world() -> World:
    """A machine that runs on host a, with "first" on its disk."""
    world = World()
    world.place(1, world.a)
    world.pass_(10)
    assert world.a.runs()
    shelf(world).contents[V] = "first"
    return world


def shelf(world: World) -> SimPool:
    return world.storage.hardware.pools[SHARED]


def finished(world: World, wish: SnapshotWish) -> bool:
    said = world.storage.server.snapshots.get(wish.operation)
    return said is not None and said.done


def test_the_storage_host_takes_it_whoever_has_the_disk(world) -> None:
    wish = shared(TAKE)
    world.storage.server.wish(export(1, world.a.name), wish)
    world.pass_(5)
    assert finished(world, wish)
    assert shelf(world).kept[V] == {"snapshot-s": "first"}
    assert world.a.runs()


def test_it_is_taken_while_nobody_knows_whether_the_holder_lives(world) -> None:
    world.cut.add(world.a.name)
    wish = shared(TAKE)
    world.storage.server.wish(export(2, world.b.name), wish)
    world.b.server.wish(guest(2))
    world.pass_(5)
    assert finished(world, wish)
    world.pass_(LENGTH + 10)
    assert world.b.runs()


def test_a_disk_is_not_set_back_before_nobody_can_be_using_it(world) -> None:
    """Its host is cut off: it may run the machine until its time is over, and nobody knows."""
    taken, back = shared(TAKE), shared(RESTORE, "operation-2")
    world.storage.server.wish(export(1, world.a.name), taken)
    world.pass_(5)
    shelf(world).contents[V] = "second"
    world.cut.add(world.a.name)
    world.storage.server.wish(back)
    world.pass_(LENGTH / 2)
    assert not finished(world, back)
    assert shelf(world).contents[V] == "second"
    world.pass_(LENGTH + 10)
    assert not world.running()
    assert finished(world, back)
    assert shelf(world).contents[V] == "first"
    shelf(world).contents[V] = "third"
    world.storage.restart()
    world.pass_(LENGTH + 10)
    assert shelf(world).contents[V] == "third"
    assert M not in world.storage.server.exports


def test_one_of_a_shared_disk_that_is_given_up_while_it_is_being_taken_does_not_stay(world) -> None:
    shelf(world).hangs = True
    taken, dropped = shared(TAKE), shared(DROP, "operation-2")
    world.storage.server.wish(export(1, world.a.name), taken)
    world.pass_(5)
    world.storage.server.wish(export(1, world.a.name), dropped)
    world.pass_(5)
    assert not finished(world, dropped)
    shelf(world).hangs = False
    world.pass_(600)
    assert finished(world, dropped)
    shelf(world).take(V, SnapshotId("snapshot-later"))
    assert shelf(world).kept[V].keys() == {"snapshot-later"}


def test_who_may_have_a_disk_keeps_it_from_being_set_back(world) -> None:
    taken, back = shared(TAKE), shared(RESTORE, "operation-2")
    world.storage.server.wish(export(1, world.a.name), taken)
    world.pass_(5)
    world.a.server.wish(guest(1, generation=2, power=Power.OFF))
    world.storage.server.wish(export(1, world.a.name), back)
    world.pass_(LENGTH * 2)
    assert not world.running()
    assert not finished(world, back)


def test_a_copy_for_which_there_is_no_room_has_images_go_that_nothing_needs(rig) -> None:
    asked(rig, TAKE)
    kernel = make.keep_kernel(rig, "k", mib=2)
    disks(rig).total_bytes = disks(rig).used_bytes
    copied = asked(rig, SnapshotAct.COPY, target=make.volume("copy"))
    assert done(rig, copied), "and it did not wait for the next look at what could go"
    assert kernel not in disks(rig).images
