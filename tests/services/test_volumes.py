"""Volumes by themselves: limits, names, machines that get and give them, and what hosts are told and say of it."""

import msgspec
import pytest
from make_cloud import Cloud
from test_customer_races import all_at_once, doing, kinds
from test_landing import attend, report, routed, seen, with_hosts
from test_machines_on_shared_disks import item, shared

from arable.controllers import attachments as ends
from arable.controllers import repair
from arable.domain.errors import BadInput, CloudError, Conflict, LimitExceeded, NoRoom
from arable.domain.ids import HostId, VolumeId
from arable.domain.manifest import (
    ExportSeen,
    ExportState,
    ExportWish,
    GuestState,
    GuestWish,
    HostReport,
)
from arable.domain.offering import StorageKind
from arable.services import attachments, offerings, operations, power, volumes
from arable.services.call import Call
from arable.wire.machines import DestroyIn, DiskIn, StopIn
from arable.wire.offerings import DiskOfferingChange, DiskOfferingIn, OfferingQuery
from arable.wire.operations import OperationWaitQuery
from arable.wire.volumes import AttachVolumeIn, DetachVolumeIn, VolumeChange, VolumeIn

__all__ = ["shared"]


def make(cloud: Cloud, me, name: str = "data", **but) -> VolumeId:
    ask = VolumeIn(**{"name": name, "offering": "any", "mib": 512, **but})
    return VolumeId(cloud.do(me, volumes.create, ask).id)


def attach(cloud: Cloud, me, volume: str, machine: str):
    return cloud.do(me, attachments.attach, volume, AttachVolumeIn(machine=machine))


def detach(cloud: Cloud, me, volume: str, *, force: bool = False):
    return cloud.do(me, attachments.detach, volume, DetachVolumeIn(force=force))


def state(cloud: Cloud, me, operation) -> str:
    found = cloud.do(me, operations.get, operation.id, OperationWaitQuery())
    return f"{found.state} {found.error.detail}" if found.error else found.state


def of(cloud: Cloud, me, volume: str):
    return cloud.do(me, volumes.get, volume)


def known_to_be_there(cloud: Cloud, machine: str) -> list[bool]:
    """Of each of its disks, whether its host is told that it may not be made (again)."""
    told = msgspec.json.decode(item(cloud, "guest", machine)[1], type=GuestWish)
    return [disk.made for disk in told.disks]


def stopped_and_started(cloud: Cloud, me, machine: str) -> None:
    cloud.do(me, power.stop, machine, StopIn())
    attend(cloud)
    report(cloud, seen(cloud, machine, state=GuestState.STOPPED))
    cloud.do(me, power.start, machine)
    attend(cloud)


def refused(cloud: Cloud, me, volume: str, machine: str) -> str:
    return cloud.refused(me, attachments.attach, volume, AttachVolumeIn(machine=machine)).public


def disks(cloud: Cloud, machine: str) -> list[str]:
    told = msgspec.json.decode(item(cloud, "guest", machine)[1], type=GuestWish)
    return [disk.volume for disk in told.disks]


@pytest.fixture
def two(cloud):
    """A machine that runs on each of two hosts, and their owner."""
    with_hosts(cloud, "a", "b")
    me = cloud.account("me")
    routed(cloud, me)
    made = [each.id for each in cloud.deploy(me, name="web", count=2).machines]
    for machine in made:
        report(cloud, seen(cloud, machine))
    assert cloud.rows("select count(distinct host) from machine where host is not null") == [(2,)]
    return me, *made


def test_volumes_take_from_limits_and_give_back(cloud):
    me = cloud.account("me", volumes=2, storage_mib=1024)
    first = make(cloud, me)
    make(cloud, me, "more", offering="any", mib=512)
    assert cloud.used(me) == {"volumes": 2, "storage_mib": 1024}
    wanted = VolumeIn(name="third", offering="any", mib=1)
    assert isinstance(cloud.refused(me, volumes.create, wanted), LimitExceeded)
    assert cloud.do(me, volumes.delete, first).state == "done"
    assert cloud.used(me) == {"volumes": 1, "storage_mib": 512}


def test_many_at_once_get_as_many_as_the_limit_has(cloud):
    me = cloud.account("me", volumes=5)
    asks = [
        doing(cloud, me, volumes.create, VolumeIn(name=f"v{n}", offering="any", mib=1))
        for n in range(30)
    ]
    assert kinds(all_at_once(cloud.database, asks)) == {"VolumeOut": 5, "LimitExceeded": 25}
    assert cloud.used(me)["volumes"] == 5


def test_what_is_wrong_with_a_new_volume_is_said(lone_cloud):
    cloud, me = lone_cloud, lone_cloud.account("me")
    make(cloud, me)
    wrong = [
        ({"name": "data"}, Conflict, "there is a volume named data"),
        ({"name": "x", "offering": "any", "mib": None}, BadInput, "say how large"),
        ({"name": "x", "offering": "ten"}, BadInput, "have 10240 MiB"),
        ({"name": "x", "image": "tiny", "mib": 100}, BadInput, "the image's disk has 512 MiB"),
        ({"name": "x", "version": 1}, BadInput, "one of an image"),
    ]
    for ask, kind, text in wrong:
        error = cloud.refused(
            me, volumes.create, VolumeIn(**{"offering": "any", "mib": 512, **ask})
        )
        assert isinstance(error, kind)
        assert text in error.public
    assert of(cloud, me, make(cloud, me, "copy", image="tiny", mib=None)).mib == 512


def test_a_machine_that_is_off_has_a_volume_at_once_and_starts_with_it(two, cloud):
    me, machine, _ = two
    volume = make(cloud, me)
    cloud.do(me, power.stop, machine, StopIn())
    attend(cloud)
    report(cloud, seen(cloud, machine, state=GuestState.STOPPED))
    assert attach(cloud, me, volume, machine).state == "done"
    assert (of(cloud, me, volume).state, of(cloud, me, volume).placed) == ("attached", False)
    cloud.do(me, power.start, machine)
    attend(cloud)
    assert disks(cloud, machine)[1:] == [volume]
    ((pool, host),) = cloud.rows(
        "select v.pool, p.host from volume v join pool p on p.id = v.pool where v.id = :id",
        id=volume,
    )
    assert (host,) == cloud.rows("select host from machine where id = :id", id=machine)[0]
    held = "select reserved_disk_mib from host where id = :id"
    with_it = cloud.rows(held, id=host)
    assert with_it == cloud.rows("select sum(mib) from volume where pool = :pool", pool=pool)


def test_one_that_runs_has_it_when_its_host_says_so_and_lets_go_the_same_way(two, cloud):
    me, machine, _ = two
    volume = make(cloud, me)
    asked = attach(cloud, me, volume, machine)
    assert (asked.state, of(cloud, me, volume).state) == ("running", "attaching")
    report(cloud, seen(cloud, machine))  # of what it was told before
    assert state(cloud, me, asked) == "running"
    attend(cloud)
    assert disks(cloud, machine)[1:] == [volume]
    report(cloud, seen(cloud, machine))
    assert (state(cloud, me, asked), of(cloud, me, volume).state) == ("done", "attached")
    again = detach(cloud, me, volume)
    assert of(cloud, me, volume).state == "detaching"
    assert of(cloud, me, volume).machine == machine
    attend(cloud)
    assert disks(cloud, machine)[1:] == []
    report(cloud, seen(cloud, machine))
    found = of(cloud, me, volume)
    assert (state(cloud, me, again), found.state, found.machine) == ("done", "available", None)
    assert found.placed


def test_hosts_are_told_what_was_seen_before_and_is_not_to_be_made_again(two, cloud, monkeypatch):
    monkeypatch.setattr(repair, "ALPHABET", ("",))
    me, machine, _ = two
    assert known_to_be_there(cloud, machine) == [False]
    volume = make(cloud, me)
    attach(cloud, me, volume, machine)
    attend(cloud)
    assert known_to_be_there(cloud, machine) == [True, False]
    report(cloud, seen(cloud, machine))
    with cloud.database.write() as tx:
        assert repair.check(tx, cloud.around.clock.now()) == 0, "what was told is what would be"
    stopped_and_started(cloud, me, machine)
    assert known_to_be_there(cloud, machine) == [True, True]
    report(cloud, seen(cloud, machine))
    assert detach(cloud, me, volume).state == "running"
    attend(cloud)
    report(cloud, seen(cloud, machine))
    attach(cloud, me, volume, machine)
    attend(cloud)
    assert known_to_be_there(cloud, machine) == [True, True], "it was there, in whichever machine"


def test_what_a_machine_was_given_while_it_was_off_may_still_have_to_be_made(two, cloud):
    me, machine, _ = two
    cloud.do(me, power.stop, machine, StopIn())
    attend(cloud)
    report(cloud, seen(cloud, machine, state=GuestState.STOPPED))
    attach(cloud, me, make(cloud, me), machine)
    cloud.do(me, power.start, machine)
    attend(cloud)
    assert known_to_be_there(cloud, machine) == [True, False]
    stopped_and_started(cloud, me, machine)
    assert known_to_be_there(cloud, machine) == [True, False], "nobody saw it run with that one"
    report(cloud, seen(cloud, machine))
    stopped_and_started(cloud, me, machine)
    assert known_to_be_there(cloud, machine) == [True, True]


def test_what_a_full_report_names_ends_what_waits_for_it(two, cloud):
    me, machine, _ = two
    asked = attach(cloud, me, make(cloud, me), machine)
    attend(cloud)
    told = seen(cloud, machine)
    report(cloud, HostReport(host=told.host, generation=1, full=True, guests=told.guests))
    assert state(cloud, me, asked) == "done"


def test_a_local_volume_stays_on_its_host_and_the_refusal_says_why(two, cloud):
    me, here, there = two
    volume = make(cloud, me)
    attach(cloud, me, volume, here)
    attend(cloud)
    report(cloud, seen(cloud, here))
    assert "is attached; detach it first" in refused(cloud, me, volume, there)
    detach(cloud, me, volume)
    attend(cloud)
    report(cloud, seen(cloud, here))
    assert "a local volume stays on its host" in refused(cloud, me, volume, there)
    assert attach(cloud, me, volume, here).state == "running"


def test_of_many_machines_one_gets_it(two, cloud):
    me, one, other = two
    volume = make(cloud, me)

    def ask(machine: str):
        wish = AttachVolumeIn(machine=machine)
        return lambda writer: writer.submit(
            lambda tx: attachments.attach(Call(tx, me, cloud.around), volume, wish)
        )

    answers = all_at_once(cloud.database, [ask(machine) for machine in (one, other) * 6])
    refusals = [each for each in answers if isinstance(each, CloudError)]
    assert len(refusals) == 6
    assert len({each.id for each in answers if not isinstance(each, CloudError)}) == 1


def test_room_is_taken_for_it_where_its_machine_runs_or_it_is_refused(two, cloud):
    me, machine, _ = two
    cloud.run("update host set disk_percent = 100")
    volume = make(cloud, me, mib=200_000)
    asked = AttachVolumeIn(machine=machine)
    assert isinstance(cloud.refused(me, attachments.attach, volume, asked), NoRoom)


def test_the_first_disk_stays_and_another_that_came_with_the_machine_may_go(two, cloud):
    me, _, _ = two
    made = cloud.deploy(me, name="db", start=False, disks=[DiskIn(offering="any", mib=64)])
    machine = made.machines[0].id
    root, data = (
        id_
        for (id_,) in cloud.rows(
            "select id from volume where machine = :id order by position", id=machine
        )
    )
    error = cloud.refused(me, attachments.detach, root, DetachVolumeIn())
    assert "the root disk of db" in error.public
    assert detach(cloud, me, data).state == "done"
    assert of(cloud, me, data).stays
    attach(cloud, me, data, machine)
    cloud.do(me, power.destroy, machine, DestroyIn(expunge=True))
    attend(cloud)
    left = cloud.rows("select machine, stays from volume where id = :id", id=data)
    assert [(m, bool(s)) for m, s in left] == [(None, True)]
    assert cloud.rows("select id from volume where id = :id", id=root) == []


def test_deleting_one_that_was_somewhere_waits_until_it_is_erased(two, cloud):
    me, machine, _ = two
    volume = make(cloud, me)
    attach(cloud, me, volume, machine)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    assert "detach it first" in cloud.refused(me, volumes.delete, volume).public
    detach(cloud, me, volume)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    before = cloud.used(me)
    asked = cloud.do(me, volumes.delete, volume)
    assert (asked.state, of(cloud, me, volume).state) == ("running", "erasing")
    assert cloud.do(me, volumes.delete, volume).id == asked.id
    assert isinstance(cloud.refused(me, volumes.update, volume, VolumeChange(name="x")), Conflict)
    host, _body = item(cloud, "scrap", volume)
    report(cloud, HostReport(host=HostId(host), generation=1, scrapped=(volume,)))
    assert state(cloud, me, asked) == "done"
    assert cloud.rows("select id from volume where id = :id", id=volume) == []
    assert cloud.used(me)["volumes"] == before["volumes"] - 1
    ((reserved, there),) = cloud.rows(
        """select h.reserved_disk_mib, (select sum(mib) from volume v where v.pool = h.pool)
           from host h where h.id = :id""",
        id=host,
    )
    assert reserved == there


def test_what_is_under_way_ends_when_the_machine_stops_however_it_stops(two, cloud):
    me, machine, other = two
    asked = attach(cloud, me, make(cloud, me), machine)
    cloud.do(me, power.stop, machine, StopIn(force=True))
    attend(cloud)
    report(cloud, seen(cloud, machine, state=GuestState.STOPPED))
    assert state(cloud, me, asked) == "done"
    volume = make(cloud, me, "second")
    asked = attach(cloud, me, volume, other)
    taken = detach(cloud, me, volume)
    assert "superseded" in state(cloud, me, asked)
    cloud.run(
        "update machine set state = 'stopped', wish = 'stopped', host = null where id = :id",
        id=other,
    )
    with cloud.database.write() as tx:
        assert ends.watch(tx, cloud.around.clock.now()) == 1
    assert state(cloud, me, taken) == "done"


def shared_data(cloud: Cloud, me, name: str = "data") -> VolumeId:
    if not cloud.rows("select id from disk_offering where name = 'common'"):
        operator = cloud.account("operator", role="operator")
        wish = DiskOfferingIn(name="common", storage=StorageKind.SHARED.value)
        cloud.do(operator, offerings.create_disk, wish)
    return make(cloud, me, name, offering="common")


def test_a_shared_one_is_free_when_its_storage_host_has_cut_it_off(shared):
    cloud = shared
    me = cloud.account("me")
    routed(cloud, me)
    machine = cloud.deploy(me, offering="steady").machines[0].id
    attend(cloud)
    report(cloud, seen(cloud, machine))
    local = make(cloud, me, "own")
    assert "all disks of a machine are of one kind" in refused(cloud, me, local, machine)
    volume = shared_data(cloud, me)
    asked = attach(cloud, me, volume, machine)
    attend(cloud)

    def exported() -> list[str]:
        wish = msgspec.json.decode(item(cloud, "export", machine)[1], type=ExportWish)
        return [disk.volume for disk in wish.disks]

    assert exported()[1:] == disks(cloud, machine)[1:] == [volume]
    report(cloud, seen(cloud, machine))
    assert state(cloud, me, asked) == "done"
    assert cloud.rows("select reserved_disk_mib from host where id = 'host-s'") == [(1536,)]
    asked = detach(cloud, me, volume)
    attend(cloud)
    assert (disks(cloud, machine)[1:], exported()[1:]) == ([], [volume])
    report(cloud, seen(cloud, machine))
    assert of(cloud, me, volume).state == "detaching"
    attend(cloud)
    assert exported()[1:] == []
    ((told, holder),) = cloud.rows("select told, host from machine where id = :id", id=machine)

    def says(generation: int) -> None:
        held = ExportSeen(
            machine=machine,
            generation=generation,
            state=ExportState.HELD,
            epoch=1,
            holder=holder,
            highest=1,
        )
        report(cloud, HostReport(host=HostId("host-s"), generation=1, exports=(held,)))

    says(told - 1)
    assert state(cloud, me, asked) == "running"
    says(told)
    assert (state(cloud, me, asked), of(cloud, me, volume).machine) == ("done", None)


def test_by_force_nobody_waits_for_the_machines_own_host(shared):
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
    waits = detach(cloud, me, volume)
    attend(cloud)
    forced = detach(cloud, me, volume, force=True)
    assert "by force" in state(cloud, me, waits)
    attend(cloud)
    wish = msgspec.json.decode(item(cloud, "export", machine)[1], type=ExportWish)
    assert volume not in {disk.volume for disk in wish.disks}
    held = ExportSeen(machine=machine, generation=wish.generation, state=ExportState.HELD, epoch=1)  # type: ignore[arg-type]
    report(cloud, HostReport(host=HostId("host-s"), generation=1, exports=(held,)))
    assert state(cloud, me, forced) == "done"


def test_the_only_kind_of_disk_for_sale_is_meant_when_none_is_said(cloud):
    me, o = cloud.account("me"), cloud.account("operator", role="operator")
    cloud.do(o, offerings.create_disk, DiskOfferingIn(name="other", mib=100))
    ask = VolumeIn(name="data", mib=100)
    told = cloud.refused(me, volumes.create, ask)
    assert (told.field, told.public) == ("offering", "say which disk offering")
    one, *others = cloud.do(o, offerings.page_disks, OfferingQuery()).items
    for each in others:
        cloud.do(o, offerings.update_disk, each.id, DiskOfferingChange(enabled=False))
    made = cloud.do(me, volumes.create, ask).id
    assert cloud.rows(f"select offering from volume where id = '{made}'") == [(one.id,)]
    cloud.do(o, offerings.update_disk, one.id, DiskOfferingChange(enabled=False))
    assert cloud.refused(me, volumes.create, ask).public == "there is no disk offering"
