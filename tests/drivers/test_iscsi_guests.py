"""Guests under libvirt get and lose disks of an iSCSI pool while they run; its secrets stay with nobody."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from arable.domain.ids import MachineId
from arable.domain.manifest import PartFormat
from arable.domain.units import MIB
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.drivers.hypervisor.protocol import Guest, GuestDisk, IscsiSource
from arable.drivers.storage.iscsi import names
from arable.drivers.storage.leases import Right
from arable.drivers.storage.protocol import ExportAt
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers.contract_shared import A, B
from drivers.test_iscsi import Site
from guest_images import CACHE

pytestmark = pytest.mark.real


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.end()


@pytest.fixture
def daemon(tmp_path_factory) -> Iterator[LibvirtDaemon]:
    made = LibvirtDaemon(
        tmp_path_factory.mktemp("lv"), RealClock(), capabilities=CACHE.parent / "capabilities"
    )
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def hypervisor(daemon, tmp_path) -> Iterator[LibvirtHypervisor]:
    made = LibvirtHypervisor(daemon.uri, tmp_path / "con", RealClock(), accelerator="tcg")
    yield made
    for machine in made.guests():
        made.remove(machine)
    made.close()


def disk(at: ExportAt, position: int) -> GuestDisk:
    assert at.secret
    source = IscsiSource(
        address=at.address,
        port=at.port,
        target=at.name,
        initiator=names.initiator(A),
        secret=at.secret,
    )
    return GuestDisk(
        format=PartFormat.RAW,
        serial=at.volume[-11:],
        bytes=8 * MIB,
        iscsi=source,
        position=position,
    )


def known_to_libvirt(daemon: LibvirtDaemon) -> list[str]:
    line = libvirt.open(daemon.uri)
    try:
        return [each.usageID() for each in line.listAllSecrets()]
    finally:
        line.close()


def test_a_guest_starts_on_one_gets_and_loses_another_and_then_its_host_is_let_in_no_more(
    site: Site, daemon, hypervisor
) -> None:
    pool, machine = site.pool(), MachineId(make.fresh("machine"))
    root, data = make.volume(), make.volume()
    for volume in (root, data):
        pool.ensure(volume, 8 * MIB, None)
        pool.limit(volume, 0, 0)
    right = Right(machine=machine, holder=A, epoch=1, volumes=(root,))
    pool.leases.allow(right)
    pool.leases.acquire(machine, A, 1)
    guest: Guest = make.guest(memory_mib=32, disks=(disk(pool.where(root, 1), 0),))
    hypervisor.ensure(guest)
    pool.leases.allow(replace(right, volumes=(root, data)))
    pool.leases.acquire(machine, A, 1)
    at = pool.where(data, 1)
    more = replace(guest, generation=2, disks=(*guest.disks, disk(at, 1)))
    hypervisor.ensure(more)
    assert hypervisor.guests()[guest.machine].generation == 2
    assert known_to_libvirt(daemon) == []
    (pid,) = daemon.guests().values()
    words = Path(f"/proc/{pid}/cmdline").read_bytes()
    for volume in (root, data):
        assert pool.where(volume, 1).secret.reveal().encode() not in words
    hypervisor.ensure(replace(guest, generation=3))
    assert hypervisor.guests()[guest.machine].generation == 3
    assert not site.why_not(at, A), "its host may get at it until it is cut off"
    pool.leases.allow(right)
    assert site.why_not(at, A)
    other = Right(machine=MachineId(make.fresh("machine")), holder=B, epoch=1, volumes=(data,))
    pool.leases.allow(other)
    pool.leases.acquire(other.machine, B, 1)
    assert "Target not found" in site.why_not(pool.where(data, 1), A)
    assert not site.why_not(pool.where(data, 1), B)
