"""How fast volumes may be, changed while they are used: who may ask for what, what hosts are told, what ends it."""

import msgspec
import pytest
from make_cloud import Cloud
from test_landing import attend, report, routed, seen
from test_machines_on_shared_disks import item, shared
from test_volumes import attach, detach, make, of, shared_data, state, two
from test_volumes_grow import root

from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound
from arable.domain.ids import HostId, VolumeId
from arable.domain.manifest import ExportSeen, ExportState, ExportWish, GuestWish, HostReport
from arable.services import limiting, offerings
from arable.wire.offerings import DiskOfferingIn
from arable.wire.volumes import LimitVolumeIn

__all__ = ["shared", "two"]


@pytest.fixture
def operator(cloud):
    made = cloud.account("operator", role="operator")
    for wish in (
        DiskOfferingIn(name="slow", iops=50, bytes_per_second=1_000_000),
        DiskOfferingIn(name="large", mib=100_000),
        DiskOfferingIn(name="golden", tags=("gold",)),
        DiskOfferingIn(name="everybodys", storage="shared"),
    ):
        cloud.do(made, offerings.create_disk, wish)
    return made


def limit(cloud: Cloud, me, volume: str, **ask):
    return cloud.do(me, limiting.limit, VolumeId(volume), LimitVolumeIn(**ask))


def refused(cloud: Cloud, me, volume: str, **ask):
    return cloud.refused(me, limiting.limit, VolumeId(volume), LimitVolumeIn(**ask))


def limits(cloud: Cloud, me, volume: str) -> tuple[int, int]:
    found = of(cloud, me, volume)
    return found.iops, found.bytes_per_second


def told(cloud: Cloud, machine: str, kind: str = "guest") -> dict[str, int]:
    wish = {"guest": GuestWish, "export": ExportWish}[kind]
    found = msgspec.json.decode(item(cloud, kind, machine)[1], type=wish)
    return {disk.volume: disk.iops for disk in found.disks}


def test_one_that_nobody_uses_is_limited_at_once(cloud, operator):
    me = cloud.account("me")
    volume = make(cloud, me)
    assert limit(cloud, me, volume, offering="slow").state == "done"
    assert limits(cloud, me, volume) == (50, 1_000_000)
    assert limit(cloud, me, volume, offering="slow").state == "done"
    assert limit(cloud, operator, volume, offering="slow", iops=7).state == "done"
    assert limits(cloud, me, volume) == (7, 1_000_000)
    assert limit(cloud, operator, volume, bytes_per_second=0).state == "done"
    assert limits(cloud, me, volume) == (7, 0)


def test_what_can_not_be_is_said(two, cloud, operator):
    me, machine, _ = two
    volume = make(cloud, me)
    wrong = [
        ({}, BadInput, "say how fast"),
        ({"offering": "none"}, NotFound, "no such disk offering"),
        ({"offering": "large"}, BadInput, "have 100000 MiB"),
        ({"offering": "golden"}, BadInput, "of the kind gold"),
        ({"offering": "everybodys"}, BadInput, "is local"),
        ({"iops": 0}, Forbidden, "catalogue:write"),
    ]
    for ask, kind, text in wrong:
        error = refused(cloud, me, volume, **ask)
        assert isinstance(error, kind), error
        assert text in error.public
    assert isinstance(refused(cloud, me, root(cloud, machine), offering="slow"), Forbidden)
    attach(cloud, me, volume, machine)
    error = refused(cloud, me, volume, offering="slow")
    assert isinstance(error, Conflict)
    assert "is attaching" in error.public
    assert limits(cloud, me, volume) == (0, 0)


def test_its_hosts_word_ends_it_for_a_local_one(two, cloud, operator):
    me, machine, _ = two
    volume = make(cloud, me)
    attach(cloud, me, volume, machine)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    asked = limit(cloud, me, volume, offering="slow")
    assert (asked.state, of(cloud, me, volume).state) == ("running", "limiting")
    assert limit(cloud, me, volume, offering="slow").id == asked.id
    report(cloud, seen(cloud, machine))
    assert state(cloud, me, asked) == "running"
    attend(cloud)
    assert told(cloud, machine)[volume] == 50
    report(cloud, seen(cloud, machine))
    assert (state(cloud, me, asked), of(cloud, me, volume).state) == ("done", "attached")
    waits = limit(cloud, operator, volume, iops=10)
    limit(cloud, operator, volume, iops=20)
    assert "superseded" in state(cloud, operator, waits)
    last = limit(cloud, operator, volume, iops=30)
    detach(cloud, me, volume)
    assert state(cloud, operator, last) == "done", "whoever has it next is held back so"


def test_the_storage_hosts_word_ends_it_for_a_shared_one(shared):
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
    operator = cloud.account("another", role="operator")
    asked = limit(cloud, operator, volume, iops=77)
    attend(cloud)
    assert told(cloud, machine, "export")[volume] == 77
    report(cloud, seen(cloud, machine))
    assert state(cloud, operator, asked) == "running"
    ((now, holder),) = cloud.rows("select told, host from machine where id = :id", id=machine)
    for generation, ends in ((now - 1, "running"), (now, "done")):
        held = ExportSeen(
            machine=machine,
            generation=generation,
            state=ExportState.HELD,
            epoch=1,
            holder=holder,
            highest=1,
        )
        report(cloud, HostReport(host=HostId("host-s"), generation=1, exports=(held,)))
        assert state(cloud, operator, asked) == ends
    assert of(cloud, me, volume).state == "attached"
