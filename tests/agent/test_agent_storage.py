"""Disks are made before guests, verified before use, and erased for an explicit wish alone."""

from collections.abc import Iterable

import pytest

from agent import make_agent as make
from agent.make_agent import Rig
from arable.agent.patience import Waiting
from arable.domain.errors import Corrupt, Unavailable
from arable.domain.manifest import GIVE_UP, GuestState, PartFormat, PartRole
from arable.domain.units import MIB
from arable.drivers.faults import Faults
from arable.drivers.simhost import SimPool
from drivers import make_drivers


@pytest.fixture
def rig() -> Rig:
    return Rig()


def volumes(rig: Rig) -> set[str]:
    return set(rig.hardware.pools[make.POOL].volumes)


def test_an_image_is_fetched_once_for_many_machines(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"))
    rig.wish(make.guest("c"))
    rig.step()
    assert rig.depot.fetched == [make.PART.sha256]
    assert [rig.runs(name) for name in "abc"] == [True] * 3


def test_an_image_that_is_not_what_its_digest_says_is_never_booted(rig) -> None:
    rig.depot.serve(make.PART.sha256, make.IMAGE[:-1] + b"x")
    rig.wish(make.guest("a"), make.guest("b", disks=(make.disk("b", source=None),)))
    rig.settle(60)
    assert not rig.runs("a")
    assert rig.runs("b")
    said = rig.server.said("a")
    assert said.state is GuestState.FAILED
    assert said.told.startswith("image: ")
    assert "digest" in said.told
    assert said.tries > 1
    rig.depot.serve(make.PART.sha256, make.IMAGE)
    rig.settle(400)
    assert rig.runs("a")


def test_a_disk_that_was_there_is_never_made_again(rig) -> None:
    rig.wish(make.guest("a"))
    rig.settle(60)
    assert rig.runs("a")
    rig.wish(make.off("a", generation=2))
    rig.settle(60)
    rig.hardware.pools[make.POOL].volumes.pop(make.volume("a"))
    again = (make.disk("a", made=True),)
    rig.wish(make.guest("a", generation=3, disks=again), make.guest("b"))
    rig.settle(60)
    assert (rig.runs("a"), rig.runs("b")) == (False, True)
    assert make.volume("a") not in volumes(rig)
    said = rig.server.said("a")
    assert said.state is GuestState.FAILED
    assert "is not there any more; no blank one is put in its place" in said.told


def test_failed_fetches_are_repeated_after_longer_and_longer_pauses(rig) -> None:
    rig.depot.serve(make.PART.sha256, b"")
    rig.wish(make.guest("a"))
    rig.settle(100)
    assert len(rig.depot.fetched) == 7  # after 0, 1, 3, 7, 15, 31 and 63 s


def test_an_image_on_its_way_is_no_failure(rig) -> None:
    class Slow:
        done = False

        def fetch(self, sha256):
            if not self.done:
                raise Waiting("40 % are here")
            return rig.depot.fetch(sha256)

    slow = Slow()
    rig.depot, rig.agent = (
        rig.depot,
        make.Agent(
            make.HOST,
            rig.ledger,
            rig.drivers,
            rig.clock,
            slow.fetch,
            inventory=lambda: make.INVENTORY,
        ),
    )
    rig.wish(make.guest("a"))
    for _ in range(3):
        rig.step()
    said = rig.server.said("a")
    assert (said.state, said.tries) == (GuestState.PREPARING, 0)
    assert said.told == "waits for image: 40 % are here"
    slow.done = True
    rig.step()
    assert rig.runs("a")


def test_kernel_and_initrd_are_handed_over_as_verified_files(rig) -> None:
    kernel, initrd = b"MZ kernel", b"070701 initrd"
    for content in (kernel, initrd):
        rig.depot.serve(make_drivers.part(content).sha256, content)
    parts = tuple(
        make_drivers.part(content, role=role, format=PartFormat.BLOB, virtual_bytes=0)
        for content, role in ((kernel, PartRole.KERNEL), (initrd, PartRole.INITRD))
    )
    rig.wish(make.guest("a", parts=parts, command_line="quiet"))
    rig.step()
    runs = rig.hardware.guests[make.machine("a")].runs
    assert runs.kernel.name == parts[0].sha256
    assert runs.initrd.name == parts[1].sha256
    assert runs.command_line == "quiet"


def test_a_disk_grows_before_the_next_start(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    larger = (make.disk("a", bytes=16 * MIB),)
    rig.wish(make.guest("a", generation=3, disks=larger, power="off"))
    rig.step()
    assert rig.hardware.pools[make.POOL].volumes[make.volume("a")].bytes == 8 * MIB
    rig.wish(make.guest("a", generation=4, disks=larger))
    rig.step()
    assert rig.hardware.pools[make.POOL].volumes[make.volume("a")].bytes == 16 * MIB
    assert rig.runs("a")


def test_removing_a_machine_keeps_its_disk(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(no=[make.guest("a")])
    rig.settle(60)
    assert volumes(rig) == {make.volume("a")}


def test_an_empty_manifest_stops_machines_and_erases_nothing(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"))
    rig.step()
    rig.agent.receive(make.whole(9))
    rig.settle(60)
    assert not rig.hardware.guests
    assert volumes(rig) == {make.volume("a"), make.volume("b")}


def test_a_scrap_erases_after_the_machine_is_removed_and_is_told(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"))
    rig.step()
    rig.wish(make.scrap("a"), no=[make.guest("a")])
    rig.step()
    assert volumes(rig) == {make.volume("b")}
    assert rig.server.scrapped == {make.volume("a")}
    assert not rig.hardware.mishaps


def test_a_scrap_waits_while_a_machine_that_holds_the_disk_can_not_be_removed(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.faults.when = lambda where: where == "before remove machine-a"
    rig.wish(make.scrap("a"), no=[make.guest("a")])
    rig.settle(60)
    assert volumes(rig) == {make.volume("a")}
    assert not rig.server.scrapped
    assert "will be removed" in rig.server.said("a").told or "failure" in rig.server.said("a").told
    rig.faults.when = lambda _where: False
    rig.settle(400)
    assert volumes(rig) == set()
    assert rig.server.scrapped == {make.volume("a")}
    assert not rig.hardware.mishaps


def test_a_scrap_waits_for_an_unknown_guest_to_be_removed(rig) -> None:
    """The ledger was lost and the machine's wish with it: nobody knows which disks it holds."""
    rig.wish(make.guest("a"))
    rig.step()
    rig.ledger.held = None
    rig.restart(alone=True)
    rig.faults.when = lambda where: where == "before remove machine-a"
    rig.agent.receive(make.whole(5, make.scrap("a")))
    rig.settle(60)
    assert volumes(rig) == {make.volume("a")}
    rig.faults.when = lambda _where: False
    rig.settle(400)
    assert volumes(rig) == set()
    assert not rig.hardware.mishaps


def test_a_disk_that_a_machine_still_names_is_not_erased(rig) -> None:
    rig.wish(make.guest("a"), make.scrap("a"))
    rig.settle(60)
    assert rig.runs("a")
    assert volumes(rig) == {make.volume("a")}
    assert not rig.server.scrapped


def test_a_scrap_of_what_was_never_here_is_told_done(rig) -> None:
    rig.wish(make.scrap("z"))
    rig.step()
    assert rig.server.scrapped == {make.volume("z")}


def test_an_erasing_whose_answer_was_lost_is_told_only_when_sure() -> None:
    rig = Rig(Faults(when=lambda where: where == "after erase volume-a"))
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(make.scrap("a"), no=[make.guest("a")])
    rig.step()
    assert not rig.server.scrapped
    rig.settle(60)
    assert rig.server.scrapped == {make.volume("a")}


def test_a_scrap_in_a_pool_of_another_host_is_left_alone(rig) -> None:
    rig.wish(make.ScrapWish(volume=make.volume("a"), pool=make.PoolId("pool-z")))
    rig.settle(60)
    assert not rig.server.scrapped


def test_a_disk_in_a_pool_of_another_host_is_told(rig) -> None:
    rig.wish(make.guest("a", disks=(make.disk("a", pool=make.PoolId("pool-z")),)))
    rig.step()
    said = rig.server.said("a")
    assert said.state is GuestState.FAILED
    assert "pool-z" in said.told


def test_a_full_pool_is_told(rig) -> None:
    rig.hardware.pools[make.POOL] = SimPool(make.POOL, total_bytes=1 * MIB)
    rig.restart()
    rig.wish(make.guest("a"))
    rig.step()
    assert rig.server.said("a").state is GuestState.FAILED
    assert "free" in rig.server.said("a").told or "more than the pool" in rig.server.said("a").told


def test_a_pool_that_can_not_be_asked_holds_up_only_those_who_need_it(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()

    class Deaf(make.SimStorage):
        def volumes(self):
            raise Corrupt("the pool's directory can't be read")

    rig.drivers = make.Drivers(
        network=rig.drivers.network,
        hypervisor=rig.drivers.hypervisor,
        pools=(Deaf(rig.hardware, make.POOL),),
    )
    rig.agent = make.Agent(
        make.HOST,
        rig.ledger,
        rig.drivers,
        rig.clock,
        rig.depot.fetch,
        inventory=lambda: make.INVENTORY,
    )
    rig.wish(make.guest("b"), make.guest("c", disks=(), seed=None), make.scrap("x"))
    rig.settle(30)
    assert rig.runs("a")
    assert rig.runs("c")
    assert "can't be asked" in rig.server.said("b").told
    assert not rig.server.scrapped


def test_what_failed_for_a_guest_that_is_gone_is_not_counted_for_the_next_one(rig) -> None:
    fetched, error = rig.depot.fetch, [Unavailable("not now")]

    def fetch(sha256: str) -> Iterable[bytes]:
        if error:
            raise error[0]
        return fetched(sha256)

    rig.depot.fetch = fetch
    rig.restart()
    rig.wish(make.guest("a"), make.guest("c"))
    rig.settle(30)
    tries = rig.server.said("a").tries
    assert tries >= GIVE_UP
    rig.wish(no=[make.guest("a")])
    rig.step()
    assert rig.server.said("c").tries >= tries, "it waits for the same image, and nothing is new"
    rig.wish(no=[make.guest("c")])
    rig.step()
    error[0] = Waiting("40 % are here")
    rig.wish(make.guest("b"))
    rig.step()
    said = rig.server.said("b")
    assert (said.state, said.tries) == (GuestState.PREPARING, 0)
    error.clear()
    rig.settle(5)
    assert rig.runs("b")
