"""Volumes that grow: limits and room, what is refused, what hosts are told, and what ends it."""

import msgspec
import pytest
from make_cloud import Cloud
from sqlalchemy import event
from test_customer_races import all_at_once, kinds
from test_landing import attend, report, routed, seen
from test_machines_on_shared_disks import item, shared
from test_volumes import attach, detach, make, of, shared_data, state, two

from arable.controllers import attachments as ends
from arable.domain.errors import BadInput, Conflict, LimitExceeded, NoRoom, NotFound
from arable.domain.ids import HostId, VolumeId
from arable.domain.manifest import ExportWish, GuestSeen, GuestState, GuestWish, HostReport
from arable.domain.units import MIB
from arable.services import explanations, power, resizing, snapshots
from arable.services.call import Call
from arable.wire.machines import DestroyIn, StopIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import ResizeVolumeIn

__all__ = ["shared", "two"]


def grow(cloud: Cloud, me, volume: str, mib: int):
    return cloud.do(me, resizing.resize, VolumeId(volume), ResizeVolumeIn(mib=mib))


def growing(cloud: Cloud, me, volume: str, mib: int):
    ask = ResizeVolumeIn(mib=mib)
    return lambda writer: writer.submit(
        lambda tx: resizing.resize(Call(tx, me, cloud.around), VolumeId(volume), ask)
    )


def refused(cloud: Cloud, me, volume: str, mib: int):
    return cloud.refused(me, resizing.resize, VolumeId(volume), ResizeVolumeIn(mib=mib))


def told(cloud: Cloud, machine: str) -> dict[str, int]:
    wish = msgspec.json.decode(item(cloud, "guest", machine)[1], type=GuestWish)
    return {disk.volume: disk.bytes // MIB for disk in wish.disks}


def root(cloud: Cloud, machine: str) -> str:
    query = "select id from volume where machine = :id and position = 0"
    return str(cloud.rows(query, id=machine)[0][0])


def balanced(cloud: Cloud) -> bool:
    """Every host reserves what the volumes in its pool have."""
    return not cloud.rows("""
        select h.id from host h where h.reserved_disk_mib <>
            (select coalesce(sum(v.mib), 0) from volume v where v.pool = h.pool)
    """)


def test_one_that_is_nowhere_grows_at_once_within_the_limits(cloud):
    me = cloud.account("me", storage_mib=1024)
    volume = make(cloud, me)
    assert grow(cloud, me, volume, 768).state == "done"
    assert (of(cloud, me, volume).mib, cloud.used(me)["storage_mib"]) == (768, 768)
    assert isinstance(refused(cloud, me, volume, 1025), LimitExceeded)
    assert grow(cloud, me, volume, 768).state == "done"
    error = refused(cloud, me, volume, 767)
    assert isinstance(error, BadInput)
    assert error.field == "mib"
    assert "volumes only grow" in error.public
    assert (of(cloud, me, volume).mib, cloud.used(me)["storage_mib"]) == (768, 768)


def test_of_many_at_once_only_what_the_limit_has_is_given(cloud):
    me = cloud.account("me", storage_mib=1000)
    made = [make(cloud, me, f"v{n}", mib=100) for n in range(5)]
    asks = [growing(cloud, me, volume, 300) for volume in made]
    assert kinds(all_at_once(cloud.database, asks)) == {"OperationOut": 2, "LimitExceeded": 3}
    assert cloud.used(me)["storage_mib"] == 900


def test_the_same_one_many_times_at_once_is_counted_once(cloud):
    me = cloud.account("me")
    volume = make(cloud, me, mib=100)
    asks = [growing(cloud, me, volume, 300) for _ in range(8)]
    answers = kinds(all_at_once(cloud.database, asks))
    assert answers.pop("OperationOut") >= 1
    assert set(answers) <= {"Conflict"}
    assert cloud.used(me)["storage_mib"] == of(cloud, me, volume).mib == 300


def test_a_guest_that_runs_is_told_and_its_hosts_word_ends_it(two, cloud):
    me, machine, _ = two
    volume = root(cloud, machine)
    before = of(cloud, me, volume).mib
    asked = grow(cloud, me, volume, before + 100)
    assert (asked.state, of(cloud, me, volume).state) == ("running", "resizing")
    assert grow(cloud, me, volume, before + 100).id == asked.id
    report(cloud, seen(cloud, machine))  # of what it was told before
    assert state(cloud, me, asked) == "running"
    attend(cloud)
    assert told(cloud, machine) == {volume: before + 100}
    report(cloud, seen(cloud, machine))
    assert (state(cloud, me, asked), of(cloud, me, volume).state) == ("done", "attached")
    assert balanced(cloud)


@pytest.mark.parametrize(
    ("verb", "ask"),
    [
        (resizing.resize, lambda volume: (volume, ResizeVolumeIn(mib=99_000))),
        (snapshots.create, lambda volume: (SnapshotIn(name="before", volume=volume),)),
    ],
)
def test_who_holds_limits_and_a_machine_holds_them_in_this_order(two, cloud, verb, ask):
    """Two who did it each in another order would wait for each other."""
    me, machine, _ = two
    volume, said = VolumeId(root(cloud, machine)), []

    def listens(_connection, _cursor, statement, *_rest) -> None:
        said.extend(t for t in ("UPDATE quota", "\nFROM machine \n") if t in statement)

    event.listen(cloud.database.engine, "before_cursor_execute", listens)
    cloud.do(me, verb, *ask(volume))
    event.remove(cloud.database.engine, "before_cursor_execute", listens)
    assert said[0] == "UPDATE quota"
    assert "\nFROM machine \n" in said


def test_growing_on_ends_what_waits_for_less(two, cloud):
    me, machine, _ = two
    volume = root(cloud, machine)
    before = of(cloud, me, volume).mib
    first, second = (grow(cloud, me, volume, before + more) for more in (100, 200))
    assert "superseded" in state(cloud, me, first)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    assert (state(cloud, me, second), told(cloud, machine)) == ("done", {volume: before + 200})
    assert balanced(cloud)


def test_room_is_taken_where_it_is_or_nothing_is(two, cloud):
    me, machine, _ = two
    volume, used = root(cloud, machine), cloud.used(me)
    cloud.run("update host set disk_percent = 100")
    assert isinstance(refused(cloud, me, volume, 10_000_000), NoRoom)
    assert cloud.used(me) == used
    assert balanced(cloud)


def test_one_of_a_machine_that_is_off_has_its_size_at_once_and_starts_with_it(two, cloud):
    me, machine, _ = two
    volume = make(cloud, me)
    attach(cloud, me, volume, machine)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    cloud.do(me, power.stop, machine, StopIn())
    assert isinstance(refused(cloud, me, volume, 1024), Conflict)
    attend(cloud)
    report(cloud, seen(cloud, machine, state=GuestState.STOPPED))
    assert grow(cloud, me, volume, 1024).state == "done"
    assert balanced(cloud)
    cloud.do(me, power.start, machine)
    attend(cloud)
    assert told(cloud, machine)[volume] == 1024
    assert balanced(cloud)


def test_it_is_over_when_the_machine_stops_or_lets_go_of_it(two, cloud):
    me, machine, other = two
    volume = make(cloud, me)
    attach(cloud, me, volume, machine)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    asked = grow(cloud, me, volume, 600)
    assert attach(cloud, me, volume, machine).state == "done", "it has it"
    detach(cloud, me, volume)
    assert state(cloud, me, asked) == "done"
    assert "is detaching" in refused(cloud, me, volume, 700).public
    asked = grow(cloud, me, root(cloud, other), 20_000)
    cloud.do(me, power.stop, other, StopIn(force=True))
    attend(cloud)
    report(cloud, seen(cloud, other, state=GuestState.STOPPED))
    assert state(cloud, me, asked) == "done"


def test_one_of_a_machine_that_goes_does_not_grow_any_more(two, cloud):
    me, machine, _ = two
    cloud.do(me, power.destroy, machine, DestroyIn())
    assert "on its way out" in refused(cloud, me, root(cloud, machine), 30_000).public


def test_why_it_has_not_grown_yet_is_told(two, cloud):
    me, machine, _ = two
    volume = root(cloud, machine)
    grow(cloud, me, volume, 20_000)
    attend(cloud)
    why = "disk x can't grow: QEMU refused"
    ((host,),) = cloud.rows("select host from machine where id = :id", id=machine)
    still = GuestSeen(
        machine=machine, generation=1, state=GuestState.RUNNING, boots=1, told=why, tries=1
    )
    report(cloud, HostReport(host=HostId(host), generation=1, guests=(still,)))
    assert of(cloud, me, volume).told == why
    said = cloud.do(me, explanations.explain, machine).says
    assert [one for one in said if one.endswith(f"is resizing: {why}")]


def test_one_that_keeps_failing_is_waited_for_no_more_and_has_its_size_at_the_next_start(
    two, cloud
):
    me, machine, _ = two
    volume = root(cloud, machine)
    asked = grow(cloud, me, volume, 20_000)
    attend(cloud)
    ((host,),) = cloud.rows("select host from machine where id = :id", id=machine)

    def says(tries: int) -> None:
        why = "disk x can't grow: QEMU refused"
        still = GuestSeen(
            machine=machine, generation=1, state=GuestState.RUNNING, boots=1, told=why, tries=tries
        )
        report(cloud, HostReport(host=HostId(host), generation=1, guests=(still,)))

    says(ends.TRIES - 1)
    assert state(cloud, me, asked) == "running"
    says(ends.TRIES)
    assert "QEMU refused" in state(cloud, me, asked)
    assert (of(cloud, me, volume).state, of(cloud, me, volume).mib) == ("attached", 20_000)
    assert grow(cloud, me, volume, 20_000).state == "done"
    report(cloud, seen(cloud, machine))
    again = grow(cloud, me, volume, 21_000)
    attend(cloud)
    assert told(cloud, machine) == {volume: 21_000}
    report(cloud, seen(cloud, machine))
    assert state(cloud, me, again) == "done"
    assert balanced(cloud)


def test_a_shared_one_is_told_to_both_of_its_hosts(shared):
    cloud = shared
    me = cloud.account("me")
    routed(cloud, me)
    machine = cloud.deploy(me, offering="steady").machines[0].id
    attend(cloud)
    report(cloud, seen(cloud, machine))
    volume = shared_data(cloud, me)
    attach(cloud, me, volume, machine)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    asked = grow(cloud, me, volume, 1024)
    attend(cloud)
    exported = msgspec.json.decode(item(cloud, "export", machine)[1], type=ExportWish)
    assert {d.volume: d.bytes // MIB for d in exported.disks} == told(cloud, machine)
    assert told(cloud, machine)[volume] == 1024
    report(cloud, seen(cloud, machine))
    assert state(cloud, me, asked) == "done"
    assert balanced(cloud)


def test_nobody_grows_what_is_anothers(cloud):
    me, other = cloud.account("me"), cloud.account("other")
    assert isinstance(refused(cloud, other, make(cloud, me), 1024), NotFound)


@pytest.mark.parametrize("mib", [0, -1])
def test_no_size_is_no_size(mib):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"mib": {mib}}}', type=ResizeVolumeIn)
