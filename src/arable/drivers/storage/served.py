"""A pool on a storage host whose volumes are shared: qcow2 files as in a local pool, leased, and served to others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from arable.domain.errors import NotFound
from arable.domain.ids import OperationId, PoolId, SnapshotId, VolumeId
from arable.drivers.storage.lease_records import FileRecords
from arable.drivers.storage.leases import Exports, Held, Leases
from arable.drivers.storage.local import LocalStorage, virtual_bytes
from arable.drivers.storage.protocol import ExportAt, InUse, Passing, VolumeFound
from arable.runtime.boottime import BootTime
from arable.runtime.clock import Clock

LEASE_SECONDS = 30.0


class Serves(Exports, Protocol):
    """What lets hosts reach disks, and what a pool asks of it besides. `Shares` says what each of these promises."""

    def expect(self, volume: VolumeId, size: int) -> None: ...

    def limit(self, volume: VolumeId, iops: int, bytes_per_second: int) -> None: ...

    def is_masked(self, volume: VolumeId, storage_zone: str, zoned: int) -> bool: ...

    def mask(self, volume: VolumeId, storage_zone: str, zoned: int) -> None: ...

    def where(self, volume: VolumeId, epoch: int) -> ExportAt: ...

    def snapshot(self, volume: VolumeId, name: str, *, drop: bool = False) -> bool:
        """Whether it was done by who has the volume open for its users."""

    def forget(self, volume: VolumeId) -> None:
        """The volume is no more."""

    def await_end(self, seconds: float) -> None:
        """Return when something is served no more that should be, or after that many seconds, or for nothing."""


Servers = Callable[[Path, Callable[[VolumeId], Path], Callable[[Path], int]], Serves]
"""Makes what serves volumes: from its directory, what tells a volume's file, and what tells a file's size to guests."""


class ServedStorage(LocalStorage):
    """`Storage` and `Shares`. `servers` says how volumes are served."""

    by_mount = False

    def __init__(
        self,
        directory: Path,
        pool: PoolId,
        clock: Clock,
        time: BootTime,
        servers: Servers,
        *,
        lease_seconds: float,
        capacity_bytes: int | None,
        reserve_bytes: int | None,
    ) -> None:
        super().__init__(
            directory, pool, clock, capacity_bytes=capacity_bytes, reserve_bytes=reserve_bytes
        )
        self.exports = servers(directory / "exports", self._existing, virtual_bytes)
        records = FileRecords(directory / "leases")
        self.leases = Leases(records, self.exports, time, lease_seconds)
        for record in self.leases.records().values():  # we may have been stopped amid an erasing
            for volume in record.volumes if record.away else ():
                if not self._is_there(volume):
                    self.leases.erased(volume)

    def expect(self, volume: VolumeId, size: int) -> None:
        self.exports.expect(volume, size)

    def limit(self, volume: VolumeId, iops: int, bytes_per_second: int) -> None:
        self.exports.limit(volume, iops, bytes_per_second)

    def mask(self, volume: VolumeId, storage_zone: str, zoned: int) -> None:
        if not self.exports.is_masked(volume, storage_zone, zoned):
            self._check_free(volume)
            self.exports.mask(volume, storage_zone, zoned)

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        return self.exports.where(volume, epoch)

    def await_trouble(self, seconds: float) -> None:
        self.exports.await_end(seconds)

    def take(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        if snapshot in self.snapshots(volume) or self.exports.snapshot(volume, snapshot):
            return
        super().take(volume, snapshot)

    def drop(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        if not self.exports.snapshot(volume, snapshot, drop=True):
            super().drop(volume, snapshot)

    def _mark(self, volume: VolumeId, point: SnapshotId) -> None:
        if not self.exports.snapshot(volume, point):
            super()._mark(volume, point)

    def _unmark(self, volume: VolumeId, point: SnapshotId) -> None:
        if not self.exports.snapshot(volume, point, drop=True):
            super()._unmark(volume, point)

    def restore(
        self, volume: VolumeId, snapshot: SnapshotId, size: int, by: OperationId
    ) -> VolumeFound:
        self._check_free(volume)
        return super().restore(volume, snapshot, size, by)

    @contextmanager
    def lend(self, volume: VolumeId) -> Iterator[Passing]:
        self._check_free(volume)
        with super().lend(volume) as passing:
            yield passing

    def erase(self, volume: VolumeId) -> None:
        self._check_free(volume)
        self.exports.forget(volume)
        super().erase(volume)
        self.leases.erased(volume)

    def _is_there(self, volume: VolumeId) -> bool:
        try:
            self._existing(volume)
        except NotFound:
            return False
        return True

    def _check_free(self, volume: VolumeId) -> None:
        for record in self.leases.records().values():
            if volume in record.volumes and record.held is not Held.FREE:
                raise InUse(f"{volume} is leased to {record.holder}")
