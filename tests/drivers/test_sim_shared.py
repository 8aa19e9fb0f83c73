"""The simulated shared pool keeps both contracts."""

import pytest

from arable.drivers.hypervisor.protocol import NbdSource
from arable.drivers.simhost import SimHost
from arable.drivers.storage.lease_records import MemoryRecords
from arable.drivers.storage.sim import SimStorage
from arable.drivers.storage.sim_shared import SimExports, SimSharedStorage
from arable.runtime.boottime import ClockBootTime
from arable.runtime.clock import VirtualClock
from drivers import make_drivers as make
from drivers.contract_carries import SharedCarryContract
from drivers.contract_replicas import SharedReplicaContract
from drivers.contract_shared import SharedContract
from drivers.contract_snapshots import SharedSnapshotContract
from drivers.contract_storage import StorageContract


class TestSimShared(
    SharedContract,
    SharedReplicaContract,
    SharedCarryContract,
    SharedSnapshotContract,
    StorageContract,
):
    keeps_files = False

    @pytest.fixture
    def other(self) -> SimStorage:
        return SimStorage(SimHost(), make.pool())

    @pytest.fixture
    def pool(self) -> SimSharedStorage:
        self.hardware, self.records = SimHost(), MemoryRecords()
        self.exports, self.id = SimExports("172.31.0.9"), make.pool()
        self.time = ClockBootTime(VirtualClock())
        return self.made()

    @pytest.fixture
    def storage(self, pool) -> SimSharedStorage:
        return pool

    def made(self) -> SimSharedStorage:
        return SimSharedStorage(self.hardware, self.id, self.records, self.exports, self.time, 30.0)

    def reopened(self, pool) -> SimSharedStorage:
        return self.made()

    def write(self, storage, volume, pattern) -> None:
        storage._disks.contents[volume] = pattern

    def reads(self, storage, volume, pattern) -> bool:
        return storage._disks.contents.get(volume, 0) == pattern

    def lets_in(self, pool, at, host) -> bool:
        source = NbdSource(address=at.address, port=at.port, name=at.name, server="host-s")
        return self.exports.reaches(source, host)

    def may_read(self, pool, at, host, pattern) -> bool:
        return self.lets_in(pool, at, host) and self.reads(pool, at.volume, pattern)

    def may_write(self, pool, at, host) -> bool:
        return self.lets_in(pool, at, host) and pool.volumes()[at.volume].view_of is None
