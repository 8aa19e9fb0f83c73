"""A pool on a local file system: images that were verified here, and volumes as thin qcow2 overlays over them.

    images/<sha256>      verified parts, read-only          records/<sha256>  what they looked like then
    volumes/<id>.qcow2   volumes                            seeds/<id>.iso    NoCloud disks
    staging/             what is not finished               erasing/          what was ordered to be erased

Every change becomes visible by one rename or link of something complete, so a process may be killed between any
two steps: what was not finished lies in `staging` and is dropped at the next start, what was being erased lies in
`erasing` and is then erased to the end. Anything else that is found and not understood is reported (`strays`) and
left alone: only `erase` erases.

Overlays name their image and its format explicitly, and are made without opening it (`blanks.py`): nothing here
ever guesses a format or runs a tool outside the jail. Thin volumes may promise more than there is (`thin_times`),
which the control plane accounts for; this is the last line behind it, and keeps a reserve of the disk free.
"""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from arable.domain import ids
from arable.domain.errors import BadInput, Corrupt, NoRoom
from arable.domain.ids import PoolId, VolumeId
from arable.domain.image_header import HEAD_BYTES, Overlay, read_overlay
from arable.domain.manifest import ImagePart, PartFormat, PoolSeen
from arable.domain.units import MIB
from arable.drivers.storage.blanks import Backing, Blanks, must_be_fine
from arable.drivers.storage.durable import destroy, put_in_place, sync_folder
from arable.drivers.storage.jail import Bounds, Jail
from arable.drivers.storage.protocol import Fetch, VolumeFound
from arable.drivers.storage.room import SECTOR, Room
from arable.drivers.storage.seeds import Seeds
from arable.drivers.storage.verified import VerifiedImages
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

_FRESH = 1 * MIB  # what a new overlay takes at most before anything is written to it
_SUFFIX = ".qcow2"


class LocalStorage:
    """`Storage` over a directory that is ours alone. One process at a time; any number of its threads."""

    name = "local (qcow2)"

    def __init__(
        self,
        directory: Path,
        pool: PoolId,
        clock: Clock,
        *,
        capacity_bytes: int | None = None,
        reserve_bytes: int | None = None,
        thin_times: int = 10,
    ) -> None:
        self._pool = pool
        self._thin_times = thin_times
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        root = directory.resolve()
        self._images_folder = _folder(root, "images", 0o711)
        self._volumes_folder = _folder(root, "volumes", 0o711)
        self._staging = _folder(root, "staging", 0o700)
        self._erasing = _folder(root, "erasing", 0o700)
        self._room = Room(root, capacity_bytes, reserve_bytes)
        self._jail = Jail(clock)
        self._blanks = Blanks(self._jail)
        records = _folder(root, "records", 0o700)
        self._images = VerifiedImages(self._images_folder, records, self._staging, self._room)
        self._seeds = Seeds(_folder(root, "seeds", 0o711), self._staging)
        self._lock = threading.RLock()
        self._finish_what_was_begun()

    @property
    def pool(self) -> PoolId:
        return self._pool

    def images(self) -> frozenset[str]:
        return self._images.names()

    def admit(self, part: ImagePart, fetch: Fetch) -> Path:
        return self._images.admit(part, fetch)

    def verify(self, sha256: str) -> None:
        """Read an image through. Raises `Corrupt` when it rotted; it then counts as not here, and is fetched anew."""
        self._images.verify(sha256)

    def volumes(self) -> Mapping[VolumeId, VolumeFound]:
        with self._lock:
            paths = list(self._volumes_folder.iterdir())
            return {volume: _found(volume, path) for path in paths if (volume := _volume_of(path))}

    def ensure(self, volume: VolumeId, size: int, source: ImagePart | None) -> VolumeFound:
        path = self._path(volume)
        if size <= 0:
            raise BadInput("a volume has a size", field="bytes")
        size = -(-size // SECTOR) * SECTOR
        with self._lock:
            if path.exists():
                return self._grown(volume, path, size)
            backing = None
            if source:
                if source.format is PartFormat.BLOB:
                    raise BadInput("a kernel is no disk", field="source")
                size = max(size, source.virtual_bytes)
                backing = Backing(self._images.path(source), source.format)
            self._may_promise(size)
            with self._room.claimed(_FRESH):
                made = self._staging / path.name
                self._blanks.make(made, size, backing)
                put_in_place(made, path)
            return _found(volume, path)

    def seed(self, volume: VolumeId, meta_data: str, user_data: str) -> Path:
        self._path(volume)
        with self._lock, self._room.claimed(2 * MIB + 2 * (len(meta_data) + len(user_data))):
            return self._seeds.ensure(volume, meta_data, user_data)

    def erase(self, volume: VolumeId) -> None:
        path = self._path(volume)
        with self._lock:
            self._seeds.remove(volume)
            doomed = self._erasing / path.name
            if path.exists():
                path.replace(doomed)
                sync_folder(self._volumes_folder)
            destroy(doomed)

    def usage(self) -> PoolSeen:
        use = self._room.use()
        return PoolSeen(pool=self._pool, total_bytes=use.total, used_bytes=use.used)

    def strays(self) -> list[Path]:
        """Files here that are none of ours, or whose volume is gone: for an operator to look at."""
        others = [path for path in self._volumes_folder.iterdir() if not _volume_of(path)]
        return [*self._images.strays(), *others, *self._seeds.strays(frozenset(self.volumes()))]

    def _path(self, volume: VolumeId) -> Path:
        return self._volumes_folder / f"{ids.check('volume', volume)}{_SUFFIX}"

    def _finish_what_was_begun(self) -> None:
        for path in self._erasing.iterdir():
            destroy(path)
        for path in self._staging.iterdir():
            if path.is_dir():
                for inner in path.iterdir():
                    destroy(inner)
                path.rmdir()
            else:
                destroy(path)
        strays = self.strays()
        if strays:
            names = ", ".join(str(path) for path in strays[:10])
            log.warning("%s: %d files are not understood: %s", self._pool, len(strays), names)

    def _grown(self, volume: VolumeId, path: Path, size: int) -> VolumeFound:
        overlay = _overlay(path)
        if overlay is None:
            raise Corrupt(f"{volume} is damaged")
        if overlay.virtual_bytes >= size:
            return _found(volume, path)
        self._may_promise(size - overlay.virtual_bytes)
        read = []
        if overlay.backing:
            backing = Path(overlay.backing)
            if backing.parent != self._images_folder or not backing.is_file():
                raise Corrupt(f"{volume} stands over an image that is not here")
            read = [backing]
        with self._room.claimed(_FRESH):
            done = self._jail.run(
                "qemu-img",
                ["resize", "-q", "-f", "qcow2", "--", str(path), str(size)],
                read=read,
                write=[path],
                bounds=Bounds(file_bytes=path.stat().st_size + 64 * MIB),
            )
            must_be_fine(done, volume)
        return _found(volume, path)

    def _may_promise(self, more: int) -> None:
        """Raises `NoRoom` when all volumes together would promise too many times what the pool has."""
        promised = sum(found.bytes for found in self.volumes().values())
        most = self._room.total() * self._thin_times
        if promised + more > most:
            raise NoRoom(
                "the pool has promised too much already",
                why={"needs": more, "promised": promised, "may_promise": most},
            )


def _folder(root: Path, name: str, mode: int) -> Path:
    (root / name).mkdir(mode=mode, exist_ok=True)
    return root / name


def _volume_of(path: Path) -> VolumeId | None:
    if path.suffix != _SUFFIX:
        return None
    try:
        return VolumeId(ids.check("volume", path.stem))
    except BadInput:
        return None


def _overlay(path: Path) -> Overlay | None:
    try:
        with path.open("rb") as file:
            return read_overlay(file.read(HEAD_BYTES))
    except BadInput:
        return None


def _found(volume: VolumeId, path: Path) -> VolumeFound:
    """A damaged one is there all the same, with no size: not seeing it would pass for having erased it."""
    overlay = _overlay(path)
    return VolumeFound(
        volume=volume,
        path=path,
        format=PartFormat.QCOW2,
        bytes=overlay.virtual_bytes if overlay else 0,
        used_bytes=path.stat().st_blocks * SECTOR,
    )
