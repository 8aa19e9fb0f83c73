"""A pool whose volumes are files in a directory that every host of its pod has mounted (docs/decisions/0043).

One host is its **keeper**: it gives out the leases and makes, erases and copies volumes; it holds a lock on a file of the
pool, `pool.keeper`, for as long as it does. So no second one can be, and whoever has mounted the directory and sees that lock
knows that it is the same directory, and that locks pass from host to host there. What is in the file is the directory's
path: volumes name their images by it, so it is the same on every host.
"""

import errno
import os
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.domain.ids import PoolId, SnapshotId, VolumeId
from arable.drivers.storage import file_locks
from arable.drivers.storage.durable import new_file
from arable.drivers.storage.file.exports import LEASED, FileExports
from arable.drivers.storage.protocol import InUse
from arable.drivers.storage.served import LEASE_SECONDS, ServedStorage
from arable.runtime.boottime import BootTime
from arable.runtime.clock import Clock

KEEPER = "pool.keeper"
_KEPT_BY_ANOTHER = frozenset({errno.EAGAIN, errno.EACCES})


class FileStorage(ServedStorage):
    """`Storage` and `Shares`, on the pool's keeper. Raises `Unavailable` when it can't be kept there, or not safely."""

    name = "file (qcow2)"
    by_mount = True

    def __init__(
        self,
        directory: Path,
        pool: PoolId,
        clock: Clock,
        time: BootTime,
        *,
        lease_seconds: float = LEASE_SECONDS,
        capacity_bytes: int | None = None,
        reserve_bytes: int | None = None,
    ) -> None:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        root = directory.resolve()
        self._keeper = _keep(root)
        try:
            _must_know_hard_links(root)
            super().__init__(
                root,
                pool,
                clock,
                time,
                lambda folder, path_of, bytes_of: FileExports(
                    folder, root / LEASED, pool, path_of, bytes_of
                ),
                lease_seconds=lease_seconds,
                capacity_bytes=capacity_bytes,
                reserve_bytes=reserve_bytes,
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Another one may keep it. Leases stand as they do, and what runs by them runs on."""
        if self._keeper >= 0:
            os.close(self._keeper)
            self._keeper = -1

    def take(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        if snapshot not in self.snapshots(volume):
            self._must_be_closed(volume)
        super().take(volume, snapshot)

    def drop(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        if snapshot in self.snapshots(volume):
            self._must_be_closed(volume)
        super().drop(volume, snapshot)

    def _must_be_closed(self, volume: VolumeId) -> None:
        if file_locks.in_use(self._existing(volume)):
            raise InUse(
                f"{volume} is open on the host that runs its machine, which takes and drops its snapshots meanwhile"
            )


def _keep(root: Path) -> int:
    """The lock of the keeper, which is seen by others."""
    path = root / KEEPER
    try:
        held = file_locks.hold(path)
    except OSError as error:
        if error.errno in _KEPT_BY_ANOTHER:
            raise Unavailable(f"another host keeps the pool in {root}, or another agent") from error
        raise Unavailable(_no_locks(root), detail=str(error)) from error
    try:
        if not file_locks.is_held(path):
            raise Unavailable(_no_locks(root))
        os.pwrite(held, bytes(root), 0)
        os.ftruncate(held, len(bytes(root)))
        os.fsync(held)
    except BaseException:
        os.close(held)
        raise
    return held


def _must_know_hard_links(root: Path) -> None:
    """By them hosts are let in, and shut out."""
    made, other = root / "pool.probe", root / "pool.probe.link"
    try:
        other.unlink(missing_ok=True)
        other.hardlink_to(new_file(made))
        other.unlink()
        made.unlink()
    except OSError as error:
        told = f"the file system at {root} makes no hard links, by which hosts are let in"
        raise Unavailable(told, detail=str(error)) from error


def _no_locks(root: Path) -> str:
    return (
        f"the file system at {root} keeps no locks, without which a machine could run twice: mount NFS as version 4.1 or"
        " later, and nothing with locks that are local to a host (nolock, local_lock)"
    )
