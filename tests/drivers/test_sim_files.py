"""The simulated pool of files keeps the contracts, and lets nobody in to what is open."""

from dataclasses import replace
from pathlib import Path

import pytest

from arable.domain.errors import Conflict, Stale, Unavailable
from arable.domain.manifest import Heir, PartFormat
from arable.drivers.hypervisor.protocol import GuestDisk, NbdSource
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.simhost import SimHost
from arable.drivers.storage.file.exports import LEASED
from arable.drivers.storage.lease_records import MemoryRecords
from arable.drivers.storage.leases import Coming
from arable.drivers.storage.protocol import ExportAt, export_name
from arable.drivers.storage.sim import SimStorage
from arable.drivers.storage.sim_files import SimFileExports, SimFileStorage
from arable.runtime.boottime import ClockBootTime
from arable.runtime.clock import VirtualClock
from drivers import make_drivers as make
from drivers.contract_carries import SharedCarryContract
from drivers.contract_shared import A, B, SharedContract
from drivers.contract_snapshots import SharedSnapshotContract, snapshot
from drivers.contract_storage import StorageContract

DIRECTORY = Path("/mounted/host-k", LEASED)


class TestSimFiles(SharedContract, SharedCarryContract, SharedSnapshotContract, StorageContract):
    keeps_files = False

    @pytest.fixture
    def other(self) -> SimStorage:
        return SimStorage(SimHost(), make.pool())

    @pytest.fixture
    def pool(self) -> SimFileStorage:
        self.hardware, self.records, self.open = SimHost(), MemoryRecords(), set()
        self.exports = SimFileExports(str(DIRECTORY), locked=lambda volume: volume in self.open)
        self.id, self.clock = make.pool(), VirtualClock()
        return self.made()

    @pytest.fixture
    def storage(self, pool) -> SimFileStorage:
        return pool

    def made(self) -> SimFileStorage:
        time = ClockBootTime(self.clock)
        return SimFileStorage(self.hardware, self.id, self.records, self.exports, time, 30.0)

    def reopened(self, pool) -> SimFileStorage:
        return self.made()

    def write(self, storage, volume, pattern) -> None:
        storage._disks.contents[volume] = pattern

    def reads(self, storage, volume, pattern) -> bool:
        return storage._disks.contents.get(volume, 0) == pattern

    def lets_in(self, pool, at: ExportAt, host) -> bool:
        source = NbdSource(address=str(DIRECTORY), port=0, name=at.name, server="")
        return self.exports.reaches(source, host)

    def may_read(self, pool, at, host, pattern) -> bool:
        return self.lets_in(pool, at, host) and self.reads(pool, at.volume, pattern)

    def may_write(self, pool, at, host) -> bool:
        return self.lets_in(pool, at, host) and pool.volumes()[at.volume].view_of is None

    def test_nobody_is_let_in_while_the_last_one_has_the_file_open(self, pool, right) -> None:
        at = self.given(pool, right)
        self.open = {at.volume}
        for anew in (pool, self.reopened(pool)):
            with pytest.raises(Unavailable, match="still open"):
                anew.leases.allow(replace(right, holder=B, epoch=2, fenced=A))
            with pytest.raises(Unavailable, match="still open"):
                anew.leases.acquire(right.machine, B, 2)
            with pytest.raises(Stale):
                anew.leases.renew(right.machine, A, 1)
            assert not self.lets_in(anew, at, A), "who is late finds no such file"
        self.open = set()
        anew.leases.acquire(right.machine, B, 2)
        assert not self.exports.mishaps

    def test_it_is_handed_over_when_the_sender_has_let_go_of_the_file(self, pool, right) -> None:
        at = self.given(pool, right)
        self.open = {at.volume}
        pool.leases.allow(replace(right, heir=Heir(host=B, epoch=2)))
        with pytest.raises(Coming):
            pool.leases.acquire(right.machine, B, 2)
        with pytest.raises(Unavailable):
            pool.leases.hand_over(right.machine, A, 1, 2)
        pool.leases.tend()
        assert self.lets_in(pool, at, A), "it is the holder's as before"
        self.open = set()
        pool.leases.hand_over(right.machine, A, 1, 2)
        assert not self.lets_in(pool, at, A)

    def test_whoever_is_given_what_is_open_is_noticed(self, pool, volume) -> None:
        self.open = {volume}
        self.exports.open(2, B, [volume])
        assert self.exports.mishaps

    def test_a_snapshot_of_what_is_open_is_left_to_who_has_it_open(self, pool, right) -> None:
        volume, taken = self.given(pool, right).volume, snapshot()
        pool.take(volume, taken)
        self.open = {volume}
        pool.take(volume, taken)  # it is there
        for act in (lambda: pool.take(volume, snapshot()), lambda: pool.drop(volume, taken)):
            with pytest.raises(Conflict, match="open on the host"):
                act()

    def test_a_guest_has_its_file_grown_and_kept_by_its_own_hypervisor(self, pool, volume) -> None:
        shelf = self.hardware.pools[pool.pool]
        host, held = SimHost(), shelf.volumes[volume]
        host.mounted = lambda _source: shelf
        host.reaches = lambda _source: True
        host.size = lambda _source: shelf.volumes[volume].bytes
        hypervisor = SimHypervisor(host)
        disk = GuestDisk(
            path=DIRECTORY / export_name(volume, 1),
            format=PartFormat.QCOW2,
            serial="s",
            bytes=held.bytes,
        )
        guest = make.guest(disks=(disk,))
        hypervisor.ensure(guest)
        hypervisor.ensure(replace(guest, disks=(replace(disk, bytes=2 * held.bytes),)))
        assert shelf.volumes[volume].bytes == 2 * held.bytes
        hypervisor.snapshot(guest.machine, "s", taken := snapshot())
        assert pool.snapshots(volume) == {taken}
        hypervisor.snapshot(guest.machine, "s", taken, drop=True)
        assert pool.snapshots(volume) == frozenset()
