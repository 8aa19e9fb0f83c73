"""Snapshots: limits and room, what is refused, what hosts are told, what their words end, what goes with what."""

import msgspec
import pytest
from make_cloud import Cloud
from test_customer_races import all_at_once, kinds
from test_landing import attend, report, routed, seen
from test_machines_on_shared_disks import shared
from test_volumes import attach, detach, make, of, state, two
from test_volumes_grow import root

from arable.controllers import removals
from arable.domain.errors import Conflict, LimitExceeded, NoRoom, NotFound
from arable.domain.ids import HostId, SnapshotId, VolumeId
from arable.domain.manifest import GuestState, HostReport
from arable.domain.snapshot import (
    MOST_OF_A_VOLUME,
    SNAPSHOT,
    SnapshotAct,
    SnapshotSeen,
    SnapshotState,
    SnapshotWish,
)
from arable.domain.units import MIB
from arable.services import (
    attachments,
    copies,
    explanations,
    operations,
    power,
    resizing,
    snapshots,
    volumes,
)
from arable.services.call import Call
from arable.store import restore as restoring
from arable.wire.machines import DestroyIn, StopIn
from arable.wire.operations import OperationWaitQuery
from arable.wire.snapshots import SnapshotIn, SnapshotQuery
from arable.wire.volumes import AttachVolumeIn, ResizeVolumeIn, VolumeIn

__all__ = ["shared", "two"]


def take(cloud: Cloud, me, volume: str, name: str = "before"):
    made = cloud.do(me, snapshots.create, SnapshotIn(name=name, volume=volume))
    return SnapshotId(made.snapshot.id), made.operation


def untaken(cloud: Cloud, me, volume: str, name: str = "again"):
    return cloud.refused(me, snapshots.create, SnapshotIn(name=name, volume=volume))


def shown(cloud: Cloud, me, snapshot: str):
    return cloud.do(me, snapshots.get, SnapshotId(snapshot))


def ended(cloud: Cloud, me, operation: str) -> str:
    found = cloud.do(me, operations.get, operation, OperationWaitQuery())
    return f"{found.state} {found.error.detail}" if found.error else found.state


def wished(cloud: Cloud) -> dict[str, SnapshotWish]:
    """What hosts are to do about snapshots, by operation."""
    rows = cloud.rows(
        "select id, body from manifest_item where kind = 'snapshot' and body is not null"
    )
    return {id_: msgspec.json.decode(body, type=SnapshotWish) for id_, body in rows}


def say(cloud: Cloud, *, done: bool = True, told: str = "", tries: int = 0, but: str = "") -> None:
    """The hosts that were told of something say how it stands."""
    for host, body in cloud.rows(
        "select host, body from manifest_item where kind = 'snapshot' and body is not null"
    ):
        wish = msgspec.json.decode(body, type=SnapshotWish)
        word = SnapshotSeen(
            operation=wish.operation, act=wish.act, done=done, told=told, tries=tries
        )
        report(cloud, HostReport(host=HostId(but or host), generation=1, snapshots=(word,)))


def balanced(cloud: Cloud) -> bool:
    """Every host reserves what volumes and snapshots in its pool have, and accounts count what there is."""
    off = cloud.rows("""
        select h.id from host h where h.reserved_disk_mib <>
            (select coalesce(sum(v.mib), 0) from volume v where v.pool = h.pool) +
            (select coalesce(sum(s.mib), 0) from snapshot s join volume v on v.id = s.volume where v.pool = h.pool)
    """)
    counted = cloud.rows("""
        select q.account from quota q where
            q.used_snapshots <> (select count(*) from snapshot s where s.account = q.account) or
            q.used_snapshot_mib <> (select coalesce(sum(s.mib), 0) from snapshot s where s.account = q.account)
    """)
    return not off and not counted


@pytest.fixture
def off(two, cloud):
    """A machine that is stopped, its root disk, a snapshot of that, and their owner."""
    me, machine, _ = two
    volume = VolumeId(root(cloud, machine))
    snapshot, _ = take(cloud, me, volume)
    say(cloud)
    cloud.do(me, power.stop, machine, StopIn(force=True))
    attend(cloud)
    report(cloud, seen(cloud, machine, state=GuestState.STOPPED))
    return me, machine, volume, snapshot


def test_one_is_taken_by_the_host_that_has_the_volume_and_its_word_ends_it(two, cloud):
    me, machine, _ = two
    volume = root(cloud, machine)
    mib = of(cloud, me, volume).mib
    snapshot, asked = take(cloud, me, volume)
    (wish,) = wished(cloud).values()
    assert (wish.act, wish.snapshot, wish.volume) == (SnapshotAct.TAKE, snapshot, volume)
    assert (shown(cloud, me, snapshot).state, shown(cloud, me, snapshot).mib) == ("creating", mib)
    assert cloud.used(me)["snapshot_mib"] == mib
    say(cloud, but="host-elsewhere")
    assert ended(cloud, me, asked) == "running"
    say(cloud)
    assert (ended(cloud, me, asked), shown(cloud, me, snapshot).state) == ("done", "available")
    assert not wished(cloud)
    assert balanced(cloud)
    listed = cloud.do(me, snapshots.page, SnapshotQuery(volume=volume)).items
    assert [each.id for each in listed] == [snapshot]


def test_the_storage_host_takes_those_of_shared_volumes(shared):
    cloud = shared
    me = cloud.account("me")
    routed(cloud, me)
    machine = cloud.deploy(me, offering="steady").machines[0].id
    attend(cloud)
    report(cloud, seen(cloud, machine))
    _, asked = take(cloud, me, root(cloud, machine))
    query = "select host from manifest_item where kind = 'snapshot'"
    assert cloud.rows(query) == [("host-s",)]
    say(cloud)
    assert ended(cloud, me, asked) == "done"
    assert balanced(cloud)


def test_number_and_size_are_limited_and_what_was_refused_left_nothing(two, cloud):
    me, machine, _ = two
    volume = root(cloud, machine)
    mib = of(cloud, me, volume).mib
    cloud.run(f"update quota set max_snapshots = 2, max_snapshot_mib = {2 * mib - 1}")
    take(cloud, me, volume)
    before = cloud.used(me)
    assert isinstance(untaken(cloud, me, volume), LimitExceeded)
    cloud.run("update quota set max_snapshots = 1, max_snapshot_mib = -1")
    assert isinstance(untaken(cloud, me, volume), LimitExceeded)
    cloud.run("update quota set max_snapshots = -1")
    assert untaken(cloud, me, volume, "before").field == "name"
    cloud.run("update host set disk_percent = 1 where reserved_disk_mib = 0")
    cloud.run("update host set disk_mib = reserved_disk_mib, disk_percent = 100")
    assert isinstance(untaken(cloud, me, volume), NoRoom)
    assert cloud.used(me) == before
    assert balanced(cloud)


def test_of_many_at_once_only_what_the_limit_has_is_taken(two, cloud):
    me, machine, _ = two
    volume = root(cloud, machine)
    cloud.run("update quota set max_snapshots = 3")

    def asking(name: str):
        ask = SnapshotIn(name=name, volume=volume)
        return lambda writer: writer.submit(
            lambda tx: snapshots.create(Call(tx, me, cloud.around), ask)
        )

    asks = [asking(f"s{n}") for n in range(7)]
    assert kinds(all_at_once(cloud.database, asks)) == {"SnapshotMadeOut": 3, "LimitExceeded": 4}
    assert balanced(cloud)


def test_no_volume_has_more_than_it_can_be_opened_with(two, cloud):
    me, machine, _ = two
    for number in range(MOST_OF_A_VOLUME):
        take(cloud, me, root(cloud, machine), f"s{number}")
    error = untaken(cloud, me, root(cloud, machine))
    assert isinstance(error, LimitExceeded)
    assert "delete one" in error.public


def test_what_is_nowhere_yet_and_what_is_on_its_way_is_not_taken(two, cloud):
    me, machine, _ = two
    volume = make(cloud, me)
    assert "is on no storage pool yet" in untaken(cloud, me, volume).public
    attach(cloud, me, volume, machine)
    assert "is attaching" in untaken(cloud, me, volume).public
    cloud.do(me, power.destroy, machine, DestroyIn())
    assert "on its way out" in untaken(cloud, me, root(cloud, machine)).public


def test_any_is_deleted_and_what_it_counted_is_given_back(two, cloud):
    me, machine, _ = two
    first, _ = take(cloud, me, root(cloud, machine), "first")
    second, _ = take(cloud, me, root(cloud, machine), "second")
    say(cloud)
    asked = cloud.do(me, snapshots.delete, first)
    assert cloud.do(me, snapshots.delete, first).id == asked.id
    assert [wish.act for wish in wished(cloud).values()] == [SnapshotAct.DROP]
    say(cloud)
    assert state(cloud, me, asked) == "done"
    assert isinstance(cloud.refused(me, snapshots.get, first), NotFound)
    assert shown(cloud, me, second).state == "available"
    assert balanced(cloud)
    assert not wished(cloud)


def test_one_that_is_still_being_taken_can_be_given_up(two, cloud):
    me, machine, _ = two
    snapshot, asked = take(cloud, me, root(cloud, machine))
    gone = cloud.do(me, snapshots.delete, snapshot)
    assert "superseded" in ended(cloud, me, asked)
    assert [wish.act for wish in wished(cloud).values()] == [SnapshotAct.DROP]
    report(  # late word of what was asked first
        cloud,
        HostReport(
            host=HostId(cloud.rows("select host from manifest_item where kind = 'snapshot'")[0][0]),
            generation=1,
            snapshots=(SnapshotSeen(operation=asked, act=SnapshotAct.TAKE, done=True),),
        ),
    )
    assert state(cloud, me, gone) == "running"
    say(cloud)
    assert state(cloud, me, gone) == "done"
    assert balanced(cloud)


def test_one_that_can_not_be_taken_fails_says_why_and_goes(two, cloud):
    me, machine, _ = two
    snapshot, asked = take(cloud, me, root(cloud, machine))
    say(cloud, done=False, told="the disk is full", tries=1)
    said = cloud.do(me, explanations.explain, machine).says
    assert "the snapshot before of a disk of it is creating: the disk is full" in said
    assert (shown(cloud, me, snapshot).told, ended(cloud, me, asked)) == (
        "the disk is full",
        "running",
    )
    say(cloud, done=False, told="the disk is full", tries=3)
    assert ended(cloud, me, asked).endswith("the disk is full")
    assert [wish.act for wish in wished(cloud).values()] == [SnapshotAct.DROP]
    report(
        cloud,
        HostReport(
            host=HostId(cloud.rows("select host from manifest_item where kind = 'snapshot'")[0][0]),
            generation=1,
            snapshots=(SnapshotSeen(operation=asked, act=SnapshotAct.TAKE, done=True),),
        ),
    )
    assert wished(cloud), "it was taken at last, and has to go"
    say(cloud)
    assert isinstance(cloud.refused(me, snapshots.get, snapshot), NotFound)
    assert balanced(cloud)


def test_to_delete_what_could_not_be_taken_is_an_operation_of_its_own(two, cloud):
    me, machine, _ = two
    snapshot, asked = take(cloud, me, root(cloud, machine))
    say(cloud, done=False, told="the disk is full", tries=3)
    assert ended(cloud, me, asked).startswith("failed")
    deleted = cloud.do(me, snapshots.delete, snapshot)
    assert (deleted.kind, deleted.state) == ("snapshot.delete", "running")
    assert cloud.do(me, snapshots.delete, snapshot).id == deleted.id
    assert wished(cloud).keys() == {deleted.id}
    say(cloud)
    assert state(cloud, me, deleted) == "done"
    assert isinstance(cloud.refused(me, snapshots.get, snapshot), NotFound)
    assert not wished(cloud)
    assert balanced(cloud)


def test_one_that_can_not_be_deleted_goes_with_its_volume(two, cloud):
    """Its volume's table of snapshots can't be read, say."""
    me, machine, _ = two
    volume = make(cloud, me)
    attach(cloud, me, volume, machine)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    snapshot, _ = take(cloud, me, volume)
    say(cloud)
    detach(cloud, me, volume)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    asked = cloud.do(me, snapshots.delete, snapshot)
    say(cloud, done=False, told="it is damaged", tries=9)
    assert (state(cloud, me, asked), shown(cloud, me, snapshot).told) == (
        "running",
        "it is damaged",
    )
    erased = cloud.do(me, volumes.delete, volume)
    ((host,),) = cloud.rows("select host from manifest_item where kind = 'scrap'")
    report(cloud, HostReport(host=HostId(host), generation=9, scrapped=(volume,)))
    assert (state(cloud, me, asked), state(cloud, me, erased)) == ("done", "done")
    assert isinstance(cloud.refused(me, snapshots.get, snapshot), NotFound)
    assert not wished(cloud)
    assert balanced(cloud)


def test_nothing_is_kept_where_a_host_is_given_up(two, cloud):
    me, machine, _ = two
    snapshot, _ = take(cloud, me, root(cloud, machine))
    say(cloud)
    before = cloud.used(me)
    cloud.run("update host set removing = true")
    assert "was lost" in untaken(cloud, me, root(cloud, machine)).public
    assert "was lost" in uncopied(cloud, me, snapshot).public
    assert cloud.used(me) == before
    assert balanced(cloud)


def test_one_whose_volume_is_nowhere_any_more_is_deleted_at_once(two, cloud):
    me, machine, _ = two
    snapshot, asked = take(cloud, me, root(cloud, machine))
    cloud.run("update volume set pool = null")
    assert cloud.do(me, snapshots.delete, snapshot).state == "done"
    assert "superseded" in ended(cloud, me, asked)
    assert isinstance(cloud.refused(me, snapshots.get, snapshot), NotFound)
    assert not cloud.used(me).get("snapshots")


def test_a_volume_is_set_back_while_nothing_runs_with_it(off, cloud):
    me, machine, volume, snapshot = off
    asked = cloud.do(me, snapshots.restore, snapshot)
    assert cloud.do(me, snapshots.restore, snapshot).id == asked.id
    (wish,) = wished(cloud).values()
    assert (wish.act, wish.bytes) == (SnapshotAct.RESTORE, of(cloud, me, volume).mib * MIB)
    assert of(cloud, me, volume).state == "restoring"
    assert "being set back" in cloud.refused(me, power.start, machine).public
    for refused in (
        untaken(cloud, me, volume),
        cloud.refused(me, resizing.resize, volume, ResizeVolumeIn(mib=99_000)),
        cloud.refused(me, snapshots.delete, snapshot),
    ):
        assert isinstance(refused, Conflict)
    said = cloud.do(me, explanations.explain, machine).says
    assert len([each for each in said if each.endswith("is restoring")]) == 2
    attached = attach(cloud, me, volume, machine)
    assert (attached.kind, attached.state) == ("volume.attach", "done")
    say(cloud)
    assert state(cloud, me, asked) == "done"
    assert (of(cloud, me, volume).state, shown(cloud, me, snapshot).state) == (
        "attached",
        "available",
    )
    assert cloud.do(me, power.start, machine).state == "running"
    assert balanced(cloud)


def test_setting_back_twice_is_two_acts_of_which_each_has_its_own_word(off, cloud):
    me, _machine, _volume, snapshot = off
    first = cloud.do(me, snapshots.restore, snapshot)
    ((host, body),) = cloud.rows(
        "select host, body from manifest_item where kind = 'snapshot' and body is not null"
    )
    say(cloud)
    second = cloud.do(me, snapshots.restore, snapshot)
    late = SnapshotSeen(operation=first.id, act=SnapshotAct.RESTORE, done=True)
    report(cloud, HostReport(host=HostId(host), generation=1, snapshots=(late,)))
    assert (state(cloud, me, first), state(cloud, me, second)) == ("done", "running")
    assert body


def test_a_machine_that_runs_has_to_be_stopped_first(two, cloud):
    me, machine, _ = two
    snapshot, _ = take(cloud, me, root(cloud, machine))
    say(cloud)
    error = cloud.refused(me, snapshots.restore, snapshot)
    assert "stop it" in error.public


def test_one_that_can_not_be_set_back_is_let_be(off, cloud):
    me, machine, volume, snapshot = off
    asked = cloud.do(me, snapshots.restore, snapshot)
    say(cloud, done=False, told="it is damaged", tries=3)
    assert state(cloud, me, asked).endswith("it is damaged")
    assert (of(cloud, me, volume).state, shown(cloud, me, snapshot).state) == (
        "attached",
        "available",
    )
    assert not wished(cloud)
    assert cloud.do(me, power.start, machine).state == "running"


def test_a_detached_volume_is_set_back_and_is_not_deleted_before_its_snapshots(two, cloud):
    me, machine, _ = two
    volume = make(cloud, me)
    attach(cloud, me, volume, machine)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    snapshot, _ = take(cloud, me, volume)
    say(cloud)
    detach(cloud, me, volume)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    assert of(cloud, me, volume).state == "available"
    assert "delete them first" in cloud.refused(me, volumes.delete, volume).public
    asked = cloud.do(me, snapshots.restore, snapshot)
    assert "set back" in cloud.refused(me, volumes.delete, volume).public
    say(cloud)
    assert state(cloud, me, asked) == "done"
    cloud.do(me, snapshots.delete, snapshot)
    say(cloud)
    assert cloud.do(me, volumes.delete, volume).state == "running"
    assert balanced(cloud)


def test_what_is_erased_with_its_machine_takes_its_snapshots_along(off, cloud):
    me, machine, volume, snapshot = off
    asked = cloud.do(me, snapshots.restore, snapshot)
    cloud.do(me, power.destroy, machine, DestroyIn(expunge=True))
    attend(cloud)
    ((host,),) = cloud.rows("select host from manifest_item where kind = 'scrap'")
    report(cloud, HostReport(host=HostId(host), generation=9, scrapped=(volume,)))
    assert isinstance(cloud.refused(me, snapshots.get, snapshot), NotFound)
    assert "gone with its volume" in state(cloud, me, asked)
    assert not wished(cloud)
    assert balanced(cloud)


def test_what_is_lost_with_its_host_is_given_back(off, cloud):
    me, _machine, volume, snapshot = off
    ((host,),) = cloud.rows(
        "select p.host from pool p join volume v on v.pool = p.id where v.id = :id", id=volume
    )
    cloud.run(f"update host set removing = true, state = 'down' where id = '{host}'")
    for _ in range(3):
        with cloud.database.write() as tx:
            removals.attend(tx, cloud.around.clock.now())
    assert isinstance(cloud.refused(me, snapshots.get, snapshot), NotFound)
    assert balanced(cloud)


def test_a_volume_that_was_being_set_back_when_its_host_was_lost_can_be_done_without(off, cloud):
    me, machine, volume, snapshot = off
    asked = cloud.do(me, snapshots.restore, snapshot)
    cloud.run("update host set removing = true, state = 'down' where id in (select host from pool)")
    for _ in range(3):
        with cloud.database.write() as tx:
            removals.attend(tx, cloud.around.clock.now())
    assert "gone with its volume" in state(cloud, me, asked)
    assert of(cloud, me, volume).state == "attached"
    cloud.do(me, power.destroy, machine, DestroyIn(expunge=True))
    assert balanced(cloud)


def test_a_volume_does_not_grow_while_a_copy_of_its_snapshot_is_made(off, cloud):
    me, _machine, volume, snapshot = off
    made = copy(cloud, me, snapshot)
    mib = of(cloud, me, volume).mib + 1024
    error = cloud.refused(me, resizing.resize, volume, ResizeVolumeIn(mib=mib))
    assert "a volume is being made" in error.public
    say(cloud)
    assert ended(cloud, me, made.operation) == "done"
    cloud.do(me, resizing.resize, volume, ResizeVolumeIn(mib=mib))
    assert balanced(cloud)


def test_an_older_copy_of_the_database_sets_nothing_back(off, cloud):
    me, _machine, volume, snapshot = off
    asked = cloud.do(me, snapshots.restore, snapshot)
    with cloud.database.write() as tx:
        restoring.renew(tx, "copy", cloud.around.clock.now())
    assert not wished(cloud)
    assert "older copy" in state(cloud, me, asked)
    assert (of(cloud, me, volume).state, shown(cloud, me, snapshot).state) == (
        "attached",
        "available",
    )


def copy(cloud: Cloud, me, snapshot: str, **but):
    usual = {"name": "copy", "offering": "any", "snapshot": snapshot}
    return cloud.do(me, copies.create, VolumeIn(**usual | but))


def uncopied(cloud: Cloud, me, of_it: str, **but):
    usual = {"name": "copy", "offering": "any", "snapshot": of_it}
    return cloud.refused(me, copies.create, VolumeIn(**usual | but))


def test_a_volume_begins_as_a_snapshot_where_that_is(off, cloud):
    me, machine, volume, snapshot = off
    of_it = of(cloud, me, volume)
    made = copy(cloud, me, "before", mib=of_it.mib + 64)
    assert (made.state, made.mib, made.placed) == ("copying", of_it.mib + 64, True)
    assert made.copied_from == snapshot
    (wish,) = wished(cloud).values()
    assert (wish.act, wish.target, wish.snapshot) == (SnapshotAct.COPY, made.id, snapshot)
    assert "a volume is being made" in cloud.refused(me, snapshots.delete, snapshot).public
    error = cloud.refused(
        me, attachments.attach, VolumeId(made.id), AttachVolumeIn(machine=machine)
    )
    assert "is copying" in error.public
    assert balanced(cloud)
    say(cloud)
    assert ended(cloud, me, made.operation) == "done"
    assert of(cloud, me, made.id).state == "available"
    assert not wished(cloud)
    attach(cloud, me, made.id, machine)
    assert of(cloud, me, made.id).state == "attached"
    cloud.do(me, snapshots.delete, snapshot)
    assert balanced(cloud)


def test_a_copy_that_can_not_be_is_refused_and_leaves_nothing(off, cloud):
    me, _machine, volume, snapshot = off
    before = cloud.used(me)
    mib = of(cloud, me, volume).mib
    for field, but in (
        ("mib", {"mib": mib - 1}),
        ("image", {"image": "tiny"}),
        ("snapshot", {"snapshot": "another"}),
    ):
        assert uncopied(cloud, me, snapshot, **but).field == field
    cloud.run("update quota set max_volumes = 1")
    assert isinstance(uncopied(cloud, me, snapshot), LimitExceeded)
    cloud.run("update quota set max_volumes = -1")
    cloud.run(
        "update host set disk_mib = reserved_disk_mib, disk_percent = 100 where reserved_disk_mib > 0"
    )
    assert isinstance(uncopied(cloud, me, snapshot), NoRoom)
    assert isinstance(uncopied(cloud, cloud.account("other"), snapshot), NotFound)
    assert cloud.used(me) == before
    assert balanced(cloud)


def test_a_copy_that_fails_says_why_and_goes(off, cloud):
    me, _machine, _volume, snapshot = off
    made = copy(cloud, me, snapshot)
    say(cloud, done=False, told="the disk is full", tries=1)
    assert of(cloud, me, made.id).told == "the disk is full"
    say(cloud, done=False, told="the disk is full", tries=3)
    assert ended(cloud, me, made.operation).endswith("the disk is full")
    ((host,),) = cloud.rows(
        "select host from manifest_item where kind = 'scrap' and body is not null"
    )
    report(cloud, HostReport(host=HostId(host), generation=9, scrapped=(VolumeId(made.id),)))
    assert isinstance(cloud.refused(me, volumes.get, VolumeId(made.id)), NotFound)
    assert balanced(cloud)


def test_a_copy_can_be_given_up(off, cloud):
    me, _machine, _volume, snapshot = off
    made = copy(cloud, me, snapshot)
    asked = cloud.do(me, volumes.delete, VolumeId(made.id))
    assert "superseded" in ended(cloud, me, made.operation)
    assert not wished(cloud)
    assert state(cloud, me, asked) == "running"
    assert balanced(cloud)


def test_a_copy_is_lost_with_its_host(off, cloud):
    me, _machine, volume, snapshot = off
    made = copy(cloud, me, snapshot)
    ((host,),) = cloud.rows(
        "select p.host from pool p join volume v on v.pool = p.id where v.id = :id", id=volume
    )
    cloud.run(f"update host set removing = true, state = 'down' where id = '{host}'")
    for _ in range(3):
        with cloud.database.write() as tx:
            removals.attend(tx, cloud.around.clock.now())
    assert "lost for good" in ended(cloud, me, made.operation)
    assert isinstance(cloud.refused(me, volumes.get, VolumeId(made.id)), NotFound)
    assert balanced(cloud)


def test_nobody_has_anothers(two, cloud):
    me, machine, _ = two
    other = cloud.account("other")
    snapshot, _ = take(cloud, me, root(cloud, machine))
    assert isinstance(untaken(cloud, other, root(cloud, machine)), NotFound)
    for ask in (snapshots.get, snapshots.restore, snapshots.delete):
        assert isinstance(cloud.refused(other, ask, snapshot), NotFound)


def test_whatever_is_under_way_has_an_end():
    for before in set(SnapshotState) - SNAPSHOT.final:
        assert list(SNAPSHOT.events(before))
