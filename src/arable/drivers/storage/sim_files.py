"""A pool of files whose volumes are values: what differs from disks that are served (docs/decisions/0043).

A hypervisor knows such a file by its name with an epoch, as it knows a served disk; so to the model it is one, at the address of
the directory, and at no port. Who has it open has it, whatever its name is now: that is QEMU's lock.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.domain.ids import HostId, SnapshotId, VolumeId
from arable.drivers.hypervisor.protocol import Guest, GuestDisk, NbdSource
from arable.drivers.storage.file.exports import LEASED
from arable.drivers.storage.protocol import ExportAt, InUse, export_name
from arable.drivers.storage.sim_shared import SimExports, SimSharedStorage


def as_seen(guest: Guest) -> Guest:
    """With such files as the model has them."""
    return replace(guest, disks=tuple(map(_seen, guest.disks)))


def _seen(disk: GuestDisk) -> GuestDisk:
    if disk.nbd or disk.path.parent.name != LEASED:
        return disk
    source = NbdSource(address=str(disk.path.parent), port=0, name=disk.path.name, server="")
    return replace(disk, path=Path(), nbd=source)


@dataclass(slots=True)
class SimFileExports(SimExports):
    """Names of files, which outlive whoever gives them out. `locked` tells whether a hypervisor has the volume open."""

    locked: Callable[[VolumeId], bool] = field(default=lambda _volume: False)

    def alive(self, volumes: Iterable[VolumeId]) -> bool:  # noqa: ARG002 - nothing is served
        return False

    def open(self, epoch: int, holder: HostId, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            if self.serving.get(volume) not in (None, (epoch, holder)) or (
                volume not in self.serving
                and self.standing_in.get(volume) != (epoch, holder)
                and self.locked(volume)
            ):
                self.mishaps.append(f"{volume} was given to {holder} ({epoch}), and is open")
            SimExports.open(self, epoch, holder, [volume])

    def cut(self, volumes: Iterable[VolumeId]) -> None:
        each = tuple(volumes)
        SimExports.cut(self, each)
        for volume in each:
            if self.locked(volume):
                raise Unavailable(f"{volume} is still open on a host: its file is locked")

    def lose_power(self) -> None:
        """Its agent knows nothing any more; the directory is as it was."""


class SimFileStorage(SimSharedStorage):
    """`Storage` and `Shares` of the pool's keeper."""

    name = "sim (files)"
    by_mount = True

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        zone = self._disks.masks.get(volume, ("", 0))[0]
        name = export_name(volume, epoch)
        return ExportAt(
            volume=volume, address="", port=0, name=name, storage_zone=zone, pool=self.pool
        )

    def take(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        if snapshot not in self.snapshots(volume):
            self._must_be_closed(volume)
        super().take(volume, snapshot)

    def drop(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        if snapshot in self.snapshots(volume):
            self._must_be_closed(volume)
        super().drop(volume, snapshot)

    def _must_be_closed(self, volume: VolumeId) -> None:
        exports = self._exports
        if isinstance(exports, SimFileExports) and exports.locked(volume):
            raise InUse(f"{volume} is open on the host that runs its machine")
