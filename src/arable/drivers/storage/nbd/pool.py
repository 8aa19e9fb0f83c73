"""A pool on a storage host whose volumes are shared: qcow2 files as in a local pool, leased, and served over NBD."""

from pathlib import Path

from arable.domain.errors import Conflict, NotFound
from arable.domain.ids import PoolId, VolumeId
from arable.drivers.storage.lease_records import FileRecords
from arable.drivers.storage.leases import Held, Leases
from arable.drivers.storage.local import LocalStorage
from arable.drivers.storage.nbd.exports import PORTS, NbdExports
from arable.drivers.storage.protocol import ExportAt
from arable.runtime.boottime import BootTime
from arable.runtime.clock import Clock

LEASE_SECONDS = 30.0


class NbdStorage(LocalStorage):
    """`Storage` and `Shares`. `address` is this host's on the management network, `credentials` the directory of its
    certificate for disks (`agent/disk_identity.py`).
    """

    name = "nbd (qcow2)"

    def __init__(
        self,
        directory: Path,
        pool: PoolId,
        clock: Clock,
        time: BootTime,
        *,
        address: str,
        credentials: Path,
        lease_seconds: float = LEASE_SECONDS,
        ports: range = PORTS,
        netns: str | None = None,
        capacity_bytes: int | None = None,
        reserve_bytes: int | None = None,
    ) -> None:
        super().__init__(
            directory, pool, clock, capacity_bytes=capacity_bytes, reserve_bytes=reserve_bytes
        )
        self.exports = NbdExports(
            directory / "exports",
            self._existing,
            self._bytes_of,
            credentials,
            address,
            ports=ports,
            netns=netns,
        )
        records = FileRecords(directory / "leases")
        self.leases = Leases(records, self.exports, time, lease_seconds)

    def limit(self, volume: VolumeId, iops: int, bytes_per_second: int) -> None:
        self.exports.limit(volume, iops, bytes_per_second)

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        return self.exports.where(volume, epoch)

    def await_trouble(self, seconds: float) -> None:
        self.exports.await_end(seconds)

    def erase(self, volume: VolumeId) -> None:
        for record in self.leases.records().values():
            if volume in record.volumes and record.held is not Held.FREE:
                raise Conflict(f"{volume} is leased to {record.holder}")
        self.exports.forget(volume)
        super().erase(volume)

    def _existing(self, volume: VolumeId) -> Path:
        path = self._path(volume)
        if not path.exists():
            raise NotFound(f"{volume} is not here")
        return path

    def _bytes_of(self, path: Path) -> int:
        return self.volumes()[VolumeId(path.stem)].bytes
