"""A pool on a real file system: the contract, and what only files, processes and crashes can show."""

from pathlib import Path

import pytest

from arable.drivers.storage.local import LocalStorage
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers.contract_storage import StorageContract


@pytest.mark.real
class TestLocal(StorageContract):
    """Same promises, real files."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        return LocalStorage(tmp_path / "pool", make.pool(), RealClock())

    def reopened(self, storage: LocalStorage) -> LocalStorage:
        return LocalStorage(storage._images_folder.parent, storage.pool, RealClock())
