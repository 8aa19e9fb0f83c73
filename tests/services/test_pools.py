"""Pools: what is used and promised of them, how much more than there is may be, and what a full one does to whom."""

from dataclasses import replace

import pytest
from make_cloud import DISK, Cloud
from test_landing import attend, report, routed, seen, with_hosts
from test_machines_on_shared_disks import shared
from test_volumes import attach, make, of, refused

from arable.domain.errors import Conflict, Forbidden, NoRoom, Stale
from arable.domain.ids import HostId, PoolId, VolumeId
from arable.domain.manifest import GuestState, HostReport, PoolSeen
from arable.domain.pool import ImageEvicted
from arable.domain.units import MIB, Size
from arable.services import explanations, hosts, operations, pools, power, resizing
from arable.store import reservations
from arable.wire.hosts import HostChange
from arable.wire.machines import StopIn
from arable.wire.operations import OperationWaitQuery
from arable.wire.pools import PoolChange, PoolQuery
from arable.wire.volumes import ResizeVolumeIn

__all__ = ["shared"]

TOTAL = 100_000


@pytest.fixture
def two(cloud: Cloud) -> Cloud:
    return with_hosts(cloud, "a", "b")


@pytest.fixture
def operator(cloud: Cloud):
    return cloud.account("ops", role="operator")


def fills(cloud: Cloud, name: str, used_mib: int, host: str = "") -> None:
    """What a host reports of its pool."""
    pool = PoolSeen(pool=PoolId(f"pool-{name}"), total_bytes=TOTAL * MIB, used_bytes=used_mib * MIB)
    report(cloud, HostReport(host=HostId(f"host-{host or name}"), generation=0, pools=(pool,)))


def closed(cloud: Cloud) -> list[str]:
    """The hosts whose pools get no further disks."""
    return [row[0] for row in cloud.rows("select name from host where disk_full order by name")]


def placed(cloud: Cloud, machine: str) -> str | None:
    return str(cloud.rows("select host from machine where id = :id", id=machine)[0][0])


def ended(cloud: Cloud, me, operation: str) -> str:
    """How, and why."""
    found = cloud.do(me, operations.get, operation, OperationWaitQuery())
    return f"{found.state} {found.error.detail if found.error else ''}"


def pool(cloud: Cloud, operator, name: str = "a"):
    return cloud.do(operator, pools.get, PoolId(f"pool-{name}"))


def test_a_pool_says_how_many_images_it_keeps_and_that_one_went(two, operator) -> None:
    where = PoolId("pool-a")
    used = PoolSeen(
        pool=where, total_bytes=9 * MIB, used_bytes=7 * MIB, images=2, image_bytes=5 * MIB
    )
    gone = ImageEvicted(
        pool=where, sha256=DISK.sha256, bytes=3 * MIB, why="it was not used for long"
    )
    for host in ("host-b", "host-a"):  # what others say of it is nothing
        said = HostReport(host=HostId(host), generation=0, pools=(used,), evicted=(gone,))
        report(two, said)
    found = pool(two, operator)
    assert (found.images, found.image_mib) == (2, 5)
    events = "select subject, text, account from event where kind = 'pool.image-evicted'"
    assert two.rows(events) == [
        (where, "image part aaaaaaaaaaaa (tiny) of 3 MiB went: it was not used for long", None)
    ]


def test_a_pool_says_what_is_in_use_and_what_is_promised(two, operator) -> None:
    me = two.account("me")
    routed(two, me)
    two.deploy(me, name="web", count=2)
    fills(two, "a", 82_400)
    found = pool(two, operator)
    assert (found.total_mib, found.used_mib, found.used_percent) == (TOTAL, 82_400, 82)
    assert (found.fill, found.takes_disks) == ("warning", True)
    assert (found.percent, found.reservable_mib) == (200, 2 * TOTAL)
    both = two.do(operator, pools.page, PoolQuery()).items
    assert sum(each.allocated_mib for each in both) == 2 * 1024
    assert both[0] == found
    for used, fill in ((79_999, "ok"), (90_000, "critical"), (95_000, "full")):
        fills(two, "a", used)
        assert pool(two, operator).fill == fill


def test_one_of_which_nothing_was_heard_is_not_full(two, operator) -> None:
    two.run("update pool set total_mib = 0")
    found = pool(two, operator)
    assert (found.used_percent, found.fill, found.takes_disks) == (0, "ok", True)


def test_over_provisioning_is_one_figure_by_way_of_the_pool_and_of_its_host(two, operator) -> None:
    assert two.do(operator, pools.update, PoolId("pool-a"), PoolChange(percent=150)).percent == 150
    assert two.do(operator, hosts.get, HostId("host-a")).disk_mib.percent == 150
    two.do(operator, hosts.update, HostId("host-a"), HostChange(disk_percent=300))
    found = pool(two, operator)
    assert (found.percent, found.reservable_mib) == (300, 3 * TOTAL)
    same = two.do(operator, pools.update, PoolId("pool-a"), PoolChange())
    assert same == found, "nothing was said"
    assert pool(two, operator, "b").percent == 200


def test_less_than_is_promised_already_is_refused(two, operator) -> None:
    with two.database.write() as tx:
        assert not reservations.take(tx, {HostId("host-a"): (Size(disk_mib=150_000), 0)})
    error = two.refused(operator, pools.update, PoolId("pool-a"), PoolChange(percent=149))
    assert isinstance(error, Conflict)
    assert (error.field, error.public) == (
        "percent",
        "150000 MiB are promised, and only 149000 could be",
    )
    two.do(operator, pools.update, PoolId("pool-a"), PoolChange(percent=150))
    with two.database.write() as tx:
        assert reservations.take(tx, {HostId("host-a"): (Size(disk_mib=1), 0)}), "it holds at once"


def test_who_read_an_older_one_changes_nothing_and_customers_nothing_at_all(two, operator) -> None:
    old = pool(two, operator).generation
    two.do(operator, pools.update, PoolId("pool-a"), PoolChange(percent=150), expects=old)
    ask = (pools.update, PoolId("pool-a"), PoolChange(percent=160))
    assert isinstance(two.refused(operator, *ask, expects=old), Stale)
    assert isinstance(two.refused(two.account("me"), *ask), Forbidden)


def test_a_full_pool_gets_no_further_machine_and_says_so(two) -> None:
    me = two.account("me")
    routed(two, me)
    fills(two, "a", 95_000)
    assert closed(two) == ["a"]
    made = [each.id for each in two.deploy(me, name="web", count=3).machines]
    assert {placed(two, machine) for machine in made} == {"host-b"}
    fills(two, "b", 99_000)
    late = two.deploy(me, name="late").operation
    attend(two)
    assert ended(two, me, late) == "failed no host can take this: 2 have a full pool"


def test_the_placer_heeds_it_as_landing_does(two) -> None:
    me = two.account("me")
    routed(two, me)
    fills(two, "a", 95_000)
    two.around = replace(two.around, land=None)
    waits = two.deploy(me, name="web").machines[0].id
    attend(two)
    assert placed(two, waits) == "host-b"


def test_a_pool_does_not_flap_around_its_bound(two) -> None:
    for used, full in (
        (94_999, []),
        (95_000, ["a"]),
        (94_999, ["a"]),
        (93_000, ["a"]),
        (92_999, []),
        (94_999, []),
    ):
        fills(two, "a", used)
        assert closed(two) == full, used


def test_nobody_closes_a_pool_of_another_host(two) -> None:
    fills(two, "a", 99_000, host="b")
    assert closed(two) == []


def test_what_was_filled_between_the_look_and_the_taking_is_not_taken(two) -> None:
    two.run("update host set disk_full = true where id = 'host-a'")
    with two.database.write() as tx:
        host = HostId("host-a")
        assert reservations.take(tx, {host: (Size(disk_mib=1), 0)}) == {host}
        assert reservations.take(tx, {host: (Size(memory_mib=1), 1)}) == frozenset()
        assert reservations.take(tx, {host: (Size(disk_mib=1), 0)}, there=True) == frozenset()
        seen_as = two.rows("select generation from host where id = 'host-a'")[0][0]
        assert reservations.take_as_seen(tx, {host: (Size(disk_mib=1), 1, seen_as)}) == {}


def test_a_machine_whose_disks_are_on_a_full_pool_runs_on_and_starts_again(two) -> None:
    me = two.account("me")
    routed(two, me)
    machine = two.deploy(me, name="web").machines[0].id
    report(two, seen(two, machine))
    there = placed(two, machine)
    fills(two, there.removeprefix("host-"), 100_000)
    assert two.rows("select state from machine where id = :id", id=machine) == [("running",)]
    two.do(me, power.stop, machine, StopIn(force=True))
    attend(two)
    report(two, seen(two, machine, state=GuestState.STOPPED))
    two.do(me, power.start, machine)
    attend(two)
    assert placed(two, machine) == there
    assert two.rows("select state from machine where id = :id", id=machine) == [("starting",)]


def test_nothing_grows_on_a_full_pool_and_nothing_is_attached_to_what_is_there(two) -> None:
    me = two.account("me")
    routed(two, me)
    machine = two.deploy(me, name="web").machines[0].id
    report(two, seen(two, machine))
    there = placed(two, machine).removeprefix("host-")
    data = make(two, me)
    fills(two, there, 95_000)
    root = VolumeId(two.rows("select id from volume where machine = :id", id=machine)[0][0])
    error = two.refused(me, resizing.resize, root, ResizeVolumeIn(mib=2048))
    assert isinstance(error, NoRoom)
    assert "is full, and nothing there can grow" in error.public
    assert "is full, and gets no further ones" in refused(two, me, data, machine)
    fills(two, there, 50_000)
    attach(two, me, data, machine)
    assert of(two, me, data).machine == machine


def test_no_machine_gets_shared_disks_on_a_full_pool(shared) -> None:
    me = shared.account("me")
    routed(shared, me)
    fills(shared, "s", 96_000)
    late = shared.deploy(me, name="web", offering="steady").operation
    attend(shared)
    assert "reach no pool with room for its shared disks" in ended(shared, me, late)
    fills(shared, "s", 90_000)
    again = shared.deploy(me, name="again", offering="steady").machines[0].id
    attend(shared)
    assert placed(shared, again) in {"host-a", "host-b"}


def stands(cloud: Cloud, machine: str, why: str, *, full: bool = False) -> None:
    said = seen(cloud, machine)
    guests = tuple(replace(each, stalled=why) for each in said.guests)
    report(cloud, replace(said, guests=guests, full=full))


WHY = "there is no room where a disk of it is"


def told(cloud: Cloud, machine: str) -> list[str]:
    query = "select kind from event where subject = :id order by number"
    return [row[0].removeprefix("machine.") for row in cloud.rows(query, id=machine)]


def test_a_guest_that_stands_still_says_why_until_it_goes_on(two) -> None:
    me = two.account("me")
    routed(two, me)
    machine = two.deploy(me, name="web").machines[0].id
    report(two, seen(two, machine))
    for full in (False, True):
        stands(two, machine, WHY, full=full)
        says = two.do(me, explanations.explain, machine).says
        assert f"stands still: {WHY}; it goes on by itself when that is over" in says
    stands(two, machine, "", full=True)
    assert not any(
        "stands still" in each for each in two.do(me, explanations.explain, machine).says
    )
    assert told(two, machine) == ["created", "running", "stalled", "goes-on"]


def test_one_that_stood_still_and_was_stopped_does_not_say_so_any_more(two) -> None:
    me = two.account("me")
    routed(two, me)
    machine = two.deploy(me, name="web").machines[0].id
    report(two, seen(two, machine))
    stands(two, machine, WHY)
    two.do(me, power.stop, machine, StopIn(force=True))
    attend(two)
    report(two, seen(two, machine, state=GuestState.STOPPED))
    assert two.rows("select why from machine where id = :id", id=machine)[0][0].count(WHY) == 0
