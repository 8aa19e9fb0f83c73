"""Lets hosts have volumes that are files in a directory which all of them have mounted.

    leased/<volume>.e<epoch>  the volume's file under the name by which the holder of that epoch opens it (a hard link)
    exports/<volume>.json     which storage zone it is in, and the epoch that its heir waits with

Nothing is served, so nothing can be killed here: a host that has a file open has it open. What takes the place of that is
QEMU's lock on the file. It ends when the process is gone and the last write of it is over, or when the file system gave
its host up, and takes nothing from it any more (docs/decisions/0043). So `cut` takes the name away, by which a host that
is late would open the file, and then is done only when nobody has the file locked.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from arable.domain.errors import Forbidden, NotFound, Unavailable
from arable.domain.ids import HostId, PoolId, VolumeId
from arable.drivers.storage import file_locks, views
from arable.drivers.storage.durable import new_file, put_in_place, sync_folder
from arable.drivers.storage.protocol import ExportAt, export_name

LEASED = "leased"
"""Where files have the names by which hosts open them, within the pool's directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """`next_epoch` has a name of the file already, and does nothing to it yet; 0 for none."""

    next_epoch: int = 0
    storage_zone: str = ""
    zoned: int = 0


class FileExports:
    """`Exports`, and all else that a pool which shares its volumes needs of whatever serves them."""

    def __init__(
        self,
        directory: Path,
        leased: Path,
        pool: PoolId,
        path_of: Callable[[VolumeId], Path],
        bytes_of: Callable[[Path], int],
    ) -> None:
        for folder, mode in ((directory, 0o700), (leased, 0o711)):
            folder.mkdir(mode=mode, exist_ok=True)
        self._folder, self._leased, self._pool = directory, leased, pool
        self._path_of, self._bytes_of = path_of, bytes_of
        self._lock = threading.RLock()
        self._least: dict[VolumeId, int] = {}  # bytes
        self._kept: dict[VolumeId, _Kept] = {}
        for path in directory.glob("*.json"):
            with suppress(msgspec.DecodeError):
                self._kept[VolumeId(path.stem)] = msgspec.json.decode(path.read_bytes(), type=_Kept)
        self._stirred = threading.Event()

    def expect(self, volume: VolumeId, size: int) -> None:
        """It is there when it has so many bytes."""
        self._least[volume] = size

    def limit(self, volume: VolumeId, iops: int, bytes_per_second: int) -> None:
        """The host that runs the machine sees to it: nothing of it passes here."""

    def is_masked(self, volume: VolumeId, storage_zone: str, zoned: int) -> bool:
        """Whether it is in that storage zone already. Raises `Forbidden` when a later word has it in another."""
        with self._lock:
            kept = self._kept.get(volume, _Kept())
        if kept.storage_zone == storage_zone:
            return True
        if volume in self._kept and zoned <= kept.zoned:
            raise Forbidden(f"{volume} is in another storage zone since then")
        return False

    def mask(self, volume: VolumeId, storage_zone: str, zoned: int) -> None:
        """It is in that storage zone from now on. Nobody has it."""
        self._keep(volume, storage_zone=storage_zone, zoned=zoned)

    def snapshot(self, volume: VolumeId, name: str, *, drop: bool = False) -> bool:  # noqa: ARG002
        """Nobody here has it open; whoever has it elsewhere is not ours to tell."""
        return False

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        """By what name the holder of that epoch opens the volume."""
        with self._lock:
            zone = self._kept.get(volume, _Kept()).storage_zone
        name = export_name(volume, epoch)
        return ExportAt(
            volume=volume, address="", port=0, name=name, storage_zone=zone, pool=self._pool
        )

    def has(self, volume: VolumeId) -> bool:
        try:
            path = self._path_of(volume)
        except NotFound:
            return False
        return self._bytes_of(path) >= self._least.get(volume, 0)

    def open(self, epoch: int, holder: HostId, volumes: Iterable[VolumeId]) -> None:  # noqa: ARG002
        for volume in volumes:
            self._must_be_apart(volume)
            self._name(volume, epoch)
            if self._kept.get(volume, _Kept()).next_epoch == epoch:
                self._keep(volume, next_epoch=0)

    def cut(self, volumes: Iterable[VolumeId]) -> None:
        each = tuple(volumes)
        for volume in each:
            self._unname(list(self._leased.glob(f"{volume}.e*")))
            if self._kept.get(volume, _Kept()).next_epoch:
                self._keep(volume, next_epoch=0)
        for volume in each:
            with suppress(NotFound), _said(volume):
                if file_locks.in_use(self._path_of(volume)):
                    raise Unavailable(f"{volume} is still open on a host: its file is locked")

    def stand_in(self, epoch: int, heir: HostId, volumes: Iterable[VolumeId]) -> None:  # noqa: ARG002
        for volume in volumes:
            if self._kept.get(volume, _Kept()).next_epoch != epoch:
                self.stand_down([volume])
                self._keep(volume, next_epoch=epoch)
            # The file itself: a QEMU that waits for a guest's memory neither reads nor locks it until the guest runs.
            self._name(volume, epoch)

    def alive(self, volumes: Iterable[VolumeId]) -> bool:  # noqa: ARG002 - nothing is served here
        return False

    def stand_down(self, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            epoch = self._kept.get(volume, _Kept()).next_epoch
            if epoch:
                self._unname([self._leased / export_name(volume, epoch)])
                self._keep(volume, next_epoch=0)

    def forget(self, volume: VolumeId) -> None:
        """The volume is no more."""
        self.cut([volume])
        with self._lock:
            self._kept.pop(volume, None)
            self._least.pop(volume, None)
            (self._folder / f"{volume}.json").unlink(missing_ok=True)

    def await_end(self, seconds: float) -> None:
        """Return after that many seconds, or when there are other names than before."""
        self._stirred.wait(seconds)
        self._stirred.clear()

    def _must_be_apart(self, volume: VolumeId) -> None:
        """Who reads a volume by views of it and who writes to it keep each other out."""
        if any(self._leased.glob(f"{volume}.e*")):
            return
        below = views.viewed(self._path_of(volume))
        for name in self._leased.iterdir():
            other = VolumeId(name.stem)
            with suppress(NotFound):
                if other == below or views.viewed(self._path_of(other)) == volume:
                    raise Unavailable(f"{volume} is open: {other} shows the same")

    def _name(self, volume: VolumeId, epoch: int) -> None:
        """The file has the name of that epoch."""
        path, name = self._path_of(volume), self._leased / export_name(volume, epoch)
        with self._lock, _said(volume):
            if name.exists():
                if name.samefile(path):
                    return
                name.unlink()  # of a volume of this id that was erased, and made anew
            name.hardlink_to(path)
            sync_folder(self._leased)

    def _unname(self, names: list[Path]) -> None:
        if not names:
            return
        with self._lock, _said(VolumeId(names[0].stem)):
            for name in names:
                name.unlink(missing_ok=True)
            sync_folder(self._leased)
        self._stirred.set()

    def _keep(self, volume: VolumeId, **but: object) -> None:
        with self._lock:
            before = self._kept.get(volume)
            kept = replace(before or _Kept(), **but)  # type: ignore[arg-type]  # of its own fields
            if kept != before:
                made = new_file(self._folder / f"{volume}.new", msgspec.json.encode(kept))
                put_in_place(made, self._folder / f"{volume}.json")
                self._kept[volume] = kept


@contextmanager
def _said(volume: VolumeId) -> Iterator[None]:
    """What the file system says is said as we say it."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{volume} is not here") from error
    except OSError as error:
        told = f"{volume} can't be reached where it is: {error.strerror}"
        raise Unavailable(told, detail=str(error)) from error
