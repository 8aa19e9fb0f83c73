"""Manifests and reports about shared disks: read as written, and older ones are read as ever."""

import msgspec

from arable.domain.ids import HostId, MachineId, PoolId, VolumeId
from arable.domain.manifest import (
    DiskWish,
    ExportSeen,
    ExportState,
    ExportWish,
    GuestWish,
    HostManifest,
    HostReport,
    ItemKind,
    SharedFrom,
)
from arable.wire.agent import Change, Item, Report, apply, encode, from_agent, from_server

HOST, M = HostId("host-a"), MachineId("machine-m")
DISK = DiskWish(volume=VolumeId("volume-v"), pool=PoolId("pool-s"), bytes=1 << 20)
EXPORT = ExportWish(
    machine=M, generation=2, holder=HOST, epoch=7, disks=(DISK,), fenced=HostId("host-b")
)


def item(kind: ItemKind, wish: object) -> Item:
    return Item(kind=kind, id=M, body=msgspec.Raw(msgspec.json.encode(wish)))


def test_an_export_arrives_as_it_was_wished_and_can_be_taken_back() -> None:
    change = Change(base=None, generation=3, items=[item(ItemKind.EXPORT, EXPORT)])
    held = apply(HostManifest(HOST), from_server(encode(change)))
    assert held.exports == {M: EXPORT}
    back = Change(base=3, generation=4, items=[Item(kind=ItemKind.EXPORT, id=M)])
    assert apply(held, from_server(encode(back))).exports == {}


def test_a_guest_with_a_shared_disk_arrives_as_it_was_wished() -> None:
    shared = SharedFrom(host=HostId("host-s"), address="172.31.0.9:10808")
    wish = GuestWish(
        machine=M,
        generation=1,
        name="m",
        cpus=1,
        cpu_mhz=500,
        memory_mib=128,
        disks=(DiskWish(volume=DISK.volume, pool=DISK.pool, bytes=DISK.bytes, shared=shared),),
        epoch=7,
    )
    change = Change(base=None, generation=1, items=[item(ItemKind.GUEST, wish)])
    assert apply(HostManifest(HOST), from_server(encode(change))).guests == {M: wish}


def test_a_guest_that_an_older_server_wished_for_needs_no_lease() -> None:
    body = (
        b'{"machine":"machine-m","generation":1,"name":"m","cpus":1,"cpu_mhz":500,"memory_mib":128,'
        b'"disks":[{"volume":"volume-v","pool":"pool-a","bytes":1048576}]}'
    )
    change = Change(
        base=None,
        generation=1,
        items=[Item(kind=ItemKind.GUEST, id=M, body=msgspec.Raw(body))],
    )
    wish = apply(HostManifest(HOST), from_server(encode(change))).guests[M]
    assert wish.epoch == 0
    assert wish.disks[0].shared is None


def test_a_report_tells_how_leases_stand_and_an_older_one_tells_nothing() -> None:
    seen = ExportSeen(
        machine=M, generation=2, state=ExportState.ENDING, epoch=6, holder=HostId("host-b")
    )
    report = HostReport(host=HOST, generation=3, exports=(seen,), exports_gone=(M,))
    heard = from_agent(encode(Report(report=report)))
    assert isinstance(heard, Report)
    assert heard.report == report
    older = from_agent(b'{"type":"report","report":{"host":"host-a","generation":3}}')
    assert isinstance(older, Report)
    assert older.report.exports == ()
