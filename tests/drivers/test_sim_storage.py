"""The simulated storage keeps the contract."""

import pytest

from arable.domain.errors import NoRoom
from arable.domain.units import MIB
from arable.drivers.simhost import SimHost, SimPool
from arable.drivers.storage.sim import SimStorage
from drivers import make_drivers as make
from drivers.contract_carries import CarryContract
from drivers.contract_replicas import ReplicaContract
from drivers.contract_storage import StorageContract


class TestSimStorage(ReplicaContract, CarryContract, StorageContract):
    keeps_files = False

    @pytest.fixture
    def other(self) -> SimStorage:
        return SimStorage(SimHost(), make.pool())

    @pytest.fixture
    def storage(self) -> SimStorage:
        return SimStorage(SimHost(), make.pool())

    def reopened(self, storage):
        return SimStorage(storage._hardware, storage.pool)

    def write(self, storage, volume, pattern) -> None:
        storage._disks.contents[volume] = pattern

    def reads(self, storage, volume, pattern) -> bool:
        return storage._disks.contents.get(volume, 0) == pattern


def test_a_full_pool_takes_no_image_and_no_volume() -> None:
    hardware, pool = SimHost(), make.pool()
    content = make.qcow2()
    hardware.pools[pool] = SimPool(pool, total_bytes=2 * MIB, used_bytes=2 * MIB - 1000)
    storage = SimStorage(hardware, pool)
    with pytest.raises(NoRoom):
        storage.admit(make.part(content), make.Depot(content).fetch)
    with pytest.raises(NoRoom):
        storage.ensure(make.volume(), 1 * MIB, None)
    assert storage.usage().used_bytes == 2 * MIB - 1000


def test_erasing_gives_back_what_a_volume_used() -> None:
    storage = SimStorage(SimHost(), make.pool())
    before, volume = storage.usage(), make.volume()
    storage.ensure(volume, 1 * MIB, None)
    assert storage.usage().used_bytes > before.used_bytes
    storage.erase(volume)
    assert storage.usage() == before
