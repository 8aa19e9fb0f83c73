"""A shared pool whose volumes are values: real leases, and servers of disks that are entries in a table."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from arable.domain.errors import Forbidden, NoRoom, NotFound, Unavailable
from arable.domain.ids import HostId, OperationId, PoolId, SnapshotId, VolumeId
from arable.domain.manifest import ImagePart
from arable.drivers.faults import Faults
from arable.drivers.hypervisor.protocol import NbdSource
from arable.drivers.simhost import SimHost
from arable.drivers.storage.lease_records import MemoryRecords
from arable.drivers.storage.leases import Held, Leases
from arable.drivers.storage.protocol import (
    ExportAt,
    InUse,
    Passing,
    VolumeFound,
    export_name,
)
from arable.drivers.storage.sim import SimStorage
from arable.runtime.boottime import BootTime

_PORT = 10809


@dataclass(slots=True)
class SimExports:
    """`Exports`, and what a client would find. Outlives the agent; a power cut ends all of it (`lose_power`)."""

    address: str
    serving: dict[VolumeId, tuple[int, HostId]] = field(default_factory=dict)
    standing_in: dict[VolumeId, tuple[int, HostId]] = field(default_factory=dict)
    sizes: dict[VolumeId, int] = field(
        default_factory=dict
    )  # of what is served, since it was opened
    faults: Faults = field(default_factory=Faults)
    mishaps: list[str] = field(default_factory=list)

    def has(self, volume: VolumeId) -> bool:  # noqa: ARG002
        return True

    def open(self, epoch: int, holder: HostId, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            if self.serving.get(volume) != (epoch, holder):
                with self.faults.around(f"serve {volume} {epoch}"):
                    if volume in self.serving:
                        self.mishaps.append(f"{volume} is served twice: {epoch} to {holder}")
                    self.serving[volume] = (epoch, holder)
                    if self.standing_in.get(volume) == (epoch, holder):
                        del self.standing_in[volume]

    def alive(self, volumes: Iterable[VolumeId]) -> bool:
        return all(volume in self.serving for volume in volumes)

    def cut(self, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            self.standing_in.pop(volume, None)
            if volume in self.serving:
                with self.faults.around(f"cut {volume}"):
                    del self.serving[volume]

    def stand_in(self, epoch: int, heir: HostId, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            if self.standing_in.get(volume) != (epoch, heir):
                with self.faults.around(f"stand in for {volume} {epoch}"):
                    self.standing_in[volume] = (epoch, heir)

    def stand_down(self, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            self.standing_in.pop(volume, None)

    def lose_power(self) -> None:
        """Nothing is served any more."""
        self.serving.clear()
        self.standing_in.clear()

    def reaches(self, source: NbdSource, host: HostId) -> bool:
        """Whether a host gets at a disk under that name, be it one that stands in for it."""
        name, _, epoch = source.name.rpartition(".e")
        volume, wanted = VolumeId(name), (int(epoch), host)
        return wanted in (self.serving.get(volume), self.standing_in.get(volume))

    def size(self, source: NbdSource) -> int:
        """Bytes of the disk under that name, as its server knows it."""
        return self.sizes.get(VolumeId(source.name.rpartition(".e")[0]), 0)

    def serves(self, source: NbdSource, host: HostId) -> bool:
        """Whether what it gets at is the disk itself."""
        name, _, epoch = source.name.rpartition(".e")
        return self.serving.get(VolumeId(name)) == (int(epoch), host)


class SimSharedStorage(SimStorage):
    """`Storage` and `Shares`. `records` and `exports` are what is kept when the agent is made anew."""

    name = "sim (shared)"
    by_mount = False

    def __init__(
        self,
        hardware: SimHost,
        pool: PoolId,
        records: MemoryRecords,
        exports: SimExports,
        time: BootTime,
        length: float,
        faults: Faults | None = None,
    ) -> None:
        super().__init__(hardware, pool, faults)
        self._exports = exports
        self.limits: dict[VolumeId, tuple[int, int]] = {}
        self.hung: set[VolumeId] = set()  # their servers serve on, but can't be talked to
        self.least: dict[VolumeId, int] = {}
        self.leases = Leases(records, _Present(self, exports), time, length)

    def expect(self, volume: VolumeId, size: int) -> None:
        self.least[volume] = size

    def ensure(self, volume: VolumeId, size: int, source: ImagePart | None) -> VolumeFound:
        held = self.volumes().get(volume)
        if held and held.bytes < size and volume in self._exports.serving:
            raise Unavailable(f"{volume} is open")
        return super().ensure(volume, size, source)

    def check_room(self, volume: VolumeId, size: int) -> None:
        if size > self._disks.total_bytes:
            raise NoRoom(f"{volume}: {size} bytes are more than the pool has")

    def limit(self, volume: VolumeId, iops: int, bytes_per_second: int) -> None:
        if volume in self.hung:
            raise Unavailable(f"the server of {volume} does not answer")
        self.limits[volume] = (iops, bytes_per_second)

    def mask(self, volume: VolumeId, storage_zone: str, zoned: int) -> None:
        within, since = self._disks.masks.get(volume, ("", -1))
        if within == storage_zone:
            return
        if zoned <= since:
            raise Forbidden(f"{volume} is in another storage zone since then")
        self._check_free(volume)
        with self._exports.faults.around(f"mask {volume}"):
            self._disks.masks[volume] = (storage_zone, zoned)

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        return ExportAt(
            volume=volume,
            address=self._exports.address,
            port=_PORT,
            name=export_name(volume, epoch),
            storage_zone=self._disks.masks.get(volume, ("", 0))[0],
        )

    def await_trouble(self, seconds: float) -> None:
        """Virtual time passes for nobody who waits here."""

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
        super().erase(volume)
        self._disks.masks.pop(volume, None)
        self.leases.erased(volume)

    def _check_free(self, volume: VolumeId) -> None:
        for record in self.leases.records().values():
            if volume in record.volumes and record.held is not Held.FREE:
                raise InUse(f"{volume} is leased to {record.holder}")


@dataclass(frozen=True, slots=True)
class _Present:
    """Only volumes that are here can be served."""

    pool: SimSharedStorage
    exports: SimExports

    def has(self, volume: VolumeId) -> bool:
        there = self.pool.volumes().get(volume)
        return there is not None and there.bytes >= self.pool.least.get(volume, 0)

    def open(self, epoch: int, holder: HostId, volumes: Iterable[VolumeId]) -> None:
        wanted = tuple(volumes)
        missing = [volume for volume in wanted if volume not in self.pool.volumes()]
        if missing:
            raise NotFound(f"{missing[0]} is not here")
        for volume in wanted:
            if self._locked(volume):
                raise Unavailable(f"{volume} is open")
        self.exports.open(epoch, holder, wanted)
        self.exports.sizes |= {volume: self.pool.volumes()[volume].bytes for volume in wanted}

    def _locked(self, volume: VolumeId) -> bool:
        """As QEMU's locks have it: who reads by views and who writes keep each other out."""
        there, served = self.pool.volumes(), self.exports.serving
        if there[volume].view_of in served:
            return True
        return any(other in there and there[other].view_of == volume for other in served)

    def alive(self, volumes: Iterable[VolumeId]) -> bool:
        return self.exports.alive(volumes)

    def cut(self, volumes: Iterable[VolumeId]) -> None:
        self.exports.cut(volumes)

    def stand_in(self, epoch: int, heir: HostId, volumes: Iterable[VolumeId]) -> None:
        self.exports.stand_in(epoch, heir, volumes)

    def stand_down(self, volumes: Iterable[VolumeId]) -> None:
        self.exports.stand_down(volumes)
