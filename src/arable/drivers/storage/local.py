"""A pool on a local file system: images that were verified here, and volumes as thin qcow2 overlays over them.

    images/<sha256>      verified parts, read-only          records/<sha256>  what they looked like then
    volumes/<id>.qcow2   volumes                            seeds/<id>.iso    NoCloud disks
    staging/             what is not finished               erasing/          what was ordered to be erased
    restored/<id>        the operation by which a volume was last set back to one of its snapshots (in its own file)
    carried/<id>         the operation by which a volume came here from another pool, or the replica that it was
    replicas/            of volumes of other pools (`replicas.py`)

Every change becomes visible by one rename or link of something complete, so a process may be killed between any
two steps: what was not finished lies in `staging` and is dropped at the next start, what was being erased lies in
`erasing` and is then erased to the end. Anything else that is found and not understood is reported (`strays`) and
left alone: only `erase` erases.

Overlays name their image and its format explicitly, and are made without opening it (`blanks.py`): nothing here
ever guesses a format or runs a tool outside the jail. Thin volumes may promise more than there is (`thin_times`),
which the control plane accounts for; this is the last line behind it, and keeps a reserve of the disk free.
"""

import errno
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from arable.domain import ids
from arable.domain.errors import BadInput, Conflict, Corrupt, NoRoom, NotFound, Unavailable
from arable.domain.ids import OperationId, PoolId, ReplicaId, SnapshotId, VolumeId
from arable.domain.image_header import Overlay
from arable.domain.manifest import ImagePart, PartFormat, PoolSeen
from arable.domain.units import MIB
from arable.drivers.storage import passage, snapshots, views
from arable.drivers.storage.blanks import Backing, Blanks, must_be_fine
from arable.drivers.storage.durable import destroy, put_in_place, sync_folder, write_whole
from arable.drivers.storage.intake import digest_of
from arable.drivers.storage.jail import Bounds, Jail
from arable.drivers.storage.protocol import (
    CachedImage,
    Fetch,
    Flat,
    Passing,
    Promised,
    ReplicaFound,
    Stranger,
    VolumeFound,
)
from arable.drivers.storage.replicas import (
    PREFIX,
    Head,
    Replicas,
    increment,
    number_of,
    point_name,
)
from arable.drivers.storage.room import SECTOR, Room
from arable.drivers.storage.seeds import Seeds
from arable.drivers.storage.turns import Turns
from arable.drivers.storage.verified import VerifiedImages
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

_GROW_SECONDS = 15  # who has the volume by its lease may be waiting for it
_SECONDS = Bounds().seconds
_CHECK_SECONDS = 3600
_FRESH = 1 * MIB  # what a new overlay takes at most before anything is written to it
_PIECE = 1 * MIB


class LocalStorage:
    """`Storage` over a directory that is ours alone. One process at a time; any number of its threads."""

    name = "local (qcow2)"
    by_mount = False

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
        self._clock = clock
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
        self._restored = _folder(root, "restored", 0o700)
        self._carried = _folder(root, "carried", 0o700)
        self._replicas = Replicas(_folder(root, "replicas", 0o700), self._staging, self._room)
        self._snapshots = snapshots.SnapshotTool(self._jail)
        self._seeds = Seeds(_folder(root, "seeds", 0o711), self._staging)
        self._lock = threading.RLock()
        self._turns = Turns()  # of what takes long
        self._finish_what_was_begun()

    @property
    def pool(self) -> PoolId:
        return self._pool

    def images(self) -> frozenset[str]:
        return self._images.names()

    def admit(self, part: ImagePart, fetch: Fetch) -> Path:
        path = self._images.admit(part, fetch)
        self._images.used(part.sha256, self._clock.now().timestamp())
        return path

    def cached(self) -> Sequence[CachedImage]:
        now, below = self._clock.now(), self._stood_on()
        for sha256 in below:
            self._images.used(sha256, now.timestamp())
        return [
            CachedImage(
                sha256=sha256,
                length=length,
                used_at=datetime.fromtimestamp(used, tz=now.tzinfo),
                in_use=sha256 in below,
            )
            for sha256, (length, used) in sorted(self._images.about().items())
        ]

    def evict(self, sha256: str) -> None:
        with self._lock:  # no volume is made over it meanwhile
            if sha256 in self._stood_on():
                raise Conflict(f"something in {self._pool} stands on image part {sha256[:12]}")
            self._images.evict(sha256, self._erasing)

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
                return self._grown(volume, path, size, _GROW_SECONDS)
            if self._replicas.has(volume):
                raise Conflict(f"a replica of {volume} is here, which is not the volume yet")
            backing = None
            if source:
                if source.format is PartFormat.BLOB:
                    raise BadInput("a kernel is no disk", field="source")
                size = max(size, source.virtual_bytes)
                backing = Backing(self._images.path(source), source.format)
                self._images.used(source.sha256, self._clock.now().timestamp())
            self._may_promise(size)
            with self._room.claimed(_FRESH):
                made = self._staging / path.name
                self._blanks.make(made, size, backing)
                put_in_place(made, path)
            return _found(volume, path)

    def view(self, volume: VolumeId, of: VolumeId) -> VolumeFound:
        path, source = self._path(volume), self._existing(of)
        with self._lock:
            if not path.exists():
                size = virtual_bytes(source)
                if not size or views.viewed(source):
                    raise Corrupt(f"{of} can't be shown: it is damaged, or a view itself")
                with self._room.claimed(_FRESH):
                    made = self._staging / path.name
                    self._blanks.make(made, size, Backing(source, PartFormat.QCOW2))
                    put_in_place(made, path)
            return _found(volume, path)

    def seed(self, volume: VolumeId, meta_data: str, user_data: str) -> Path:
        self._path(volume)
        with self._lock, self._room.claimed(2 * MIB + 2 * (len(meta_data) + len(user_data))):
            return self._seeds.ensure(volume, meta_data, user_data)

    def erase(self, volume: VolumeId) -> None:
        path = self._path(volume)
        with self._lock:
            if any(found.view_of == volume for found in self.volumes().values()):
                raise Conflict(f"there are views of {volume}")
            self._seeds.remove(volume)
            doomed = self._erasing / path.name
            if path.exists():
                path.replace(doomed)
                sync_folder(self._volumes_folder)
            destroy(doomed)
            destroy(self._restored / volume)
            destroy(self._carried / volume)
            self._replicas.erase(volume)

    def snapshots(self, volume: VolumeId) -> frozenset[SnapshotId]:
        with _answering(volume):
            found = snapshots.names(self._existing(volume))
            return frozenset(name for name in found if not name.startswith(PREFIX))

    def take(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        with self._turns.of(volume), _answering(volume), self._room.claimed(_FRESH):
            if snapshot not in self.snapshots(volume):
                path = self._existing(volume)
                self._snapshots.take(path, _named(snapshot), self._below(volume, path))

    def drop(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        with self._turns.of(volume), _answering(volume):
            if snapshot in self.snapshots(volume):
                path = self._existing(volume)
                self._snapshots.drop(path, _named(snapshot), self._below(volume, path))

    def restore(
        self, volume: VolumeId, snapshot: SnapshotId, size: int, by: OperationId
    ) -> VolumeFound:
        mark = self._restored / volume
        with self._turns.of(volume), _answering(volume), self._room.claimed(_FRESH):
            path = self._existing(volume)
            if not mark.exists() or mark.read_text() != by:
                if snapshot not in self.snapshots(volume):
                    raise NotFound(f"{volume} has no such snapshot")
                self._snapshots.apply(path, _named(snapshot), self._below(volume, path))
                found = self._grown(volume, path, size, _SECONDS)
                write_whole(mark, by.encode(), self._staging)
                return found
            return _found(volume, path)

    def usage(self) -> PoolSeen:
        use = self._room.use()
        lengths = [length for length, _used in self._images.about().values()]
        return PoolSeen(
            pool=self._pool,
            total_bytes=use.total,
            used_bytes=use.used,
            images=len(lengths),
            image_bytes=sum(lengths),
        )

    def strays(self) -> list[Path]:
        """Files here that are none of ours, or whose volume is gone: for an operator to look at."""
        others = [path for path in self._volumes_folder.iterdir() if not _volume_of(path)]
        return [*self._images.strays(), *others, *self._seeds.strays(frozenset(self.volumes()))]

    def _path(self, volume: VolumeId) -> Path:
        return self._volumes_folder / f"{ids.check('volume', volume)}{views.SUFFIX}"

    def _finish_what_was_begun(self) -> None:
        for path in self._erasing.iterdir():
            path.chmod(0o600)  # images are for nobody to write to
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

    def check_room(self, volume: VolumeId, size: int) -> None:
        """Raises `NoRoom` when the volume can't be made so large now, and touches nothing."""
        with _answering(volume), self._room.claimed(_FRESH):
            self._may_promise(size - virtual_bytes(self._existing(volume)))

    def _grown(self, volume: VolumeId, path: Path, size: int, seconds: int) -> VolumeFound:
        overlay = views.overlay(path)
        if overlay is None:
            raise Corrupt(f"{volume} is damaged")
        if overlay.virtual_bytes >= size:
            return _found(volume, path)
        self._may_promise(size - overlay.virtual_bytes)
        with self._room.claimed(_FRESH):
            done = self._jail.run(
                "qemu-img",
                ["resize", "-q", "-f", "qcow2", "--", str(path), str(size)],
                read=self._below(volume, path),
                write=[path],
                bounds=Bounds(seconds=seconds, file_bytes=path.stat().st_size + 64 * MIB),
            )
            must_be_fine(done, volume)
        return _found(volume, path)

    def copy(self, volume: VolumeId, snapshot: SnapshotId, to: VolumeId, size: int) -> VolumeFound:
        path, source = self._path(to), self._existing(volume)
        with self._turns.of(to), _answering(volume):
            if path.exists():
                return _found(to, path)
            if snapshot not in snapshots.names(source):
                raise NotFound(f"{volume} has no such snapshot")
            self._may_promise(size)
            made = self._staging / path.name
            try:
                # There is room now; what is written counts by itself.
                with self._room.claimed(_FRESH + source.stat().st_blocks * SECTOR):
                    below = self._below(volume, source)
                self._snapshots.copy(source, _named(snapshot), made, below)
                if snapshot not in self.snapshots(volume):
                    raise NotFound(f"the snapshot of {volume} went away meanwhile")
                found = self._grown(to, made, size, _SECONDS)
                put_in_place(made, path)
            finally:
                destroy(made)
            return replace(found, path=path)

    @contextmanager
    def flat(self, volume: VolumeId, snapshot: SnapshotId) -> Iterator[Flat]:
        made = self._staging / f"{_named(snapshot)}.flat"
        with self._turns.of(made.name):
            try:
                yield self._flattened(volume, snapshot, made)
            finally:
                destroy(made)

    def _flattened(self, volume: VolumeId, snapshot: SnapshotId, made: Path) -> Flat:
        source = self._existing(volume)
        with _answering(volume):
            if snapshot not in snapshots.names(source):
                raise NotFound(f"{volume} has no such snapshot")
            below = self._below(volume, source)
            # There is room now; what is written counts by itself.
            blocks = sum(each.stat().st_blocks for each in (source, *below))
            with self._room.claimed(_FRESH + blocks * SECTOR):
                pass
            self._snapshots.flatten(source, snapshot, made, below)
            if snapshot not in self.snapshots(volume):
                raise NotFound(f"the snapshot of {volume} went away meanwhile")
            return Flat(
                sha256=digest_of(made), length=made.stat().st_size, read=partial(_pieces, made)
            )

    @contextmanager
    def lend(self, volume: VolumeId) -> Iterator[Passing]:
        path = self._existing(volume)
        with self._turns.of(volume), _answering(volume), passage.lent(path) as passing:
            yield passing

    def take_in(
        self,
        volume: VolumeId,
        size: int,
        image: ImagePart | None,
        passing: Callable[[], AbstractContextManager[Passing]],
        by: OperationId,
    ) -> VolumeFound:
        path, mark, made = (
            self._path(volume),
            self._carried / volume,
            self._staging / f"{volume}{views.SUFFIX}",
        )
        with self._turns.of(volume), _answering(volume):
            if path.exists():
                if mark.exists() and mark.read_text() == by:
                    return _found(volume, path)
                raise Stranger(
                    f"another copy of {volume} is in {self._pool}, which is left as it is"
                )
            self._may_promise(size)
            try:
                with passing() as sent:
                    # There is room now; what is written counts by itself.
                    with self._room.claimed(_FRESH + sent.room):
                        pass
                    overlay = passage.receive(sent, made)
                self._set_over(volume, made, overlay, image)
                write_whole(mark, by.encode(), self._staging)
                put_in_place(made, path)
            finally:
                destroy(made)
            return _found(volume, path)

    @contextmanager
    def increment(self, volume: VolumeId, replica: ReplicaId, since: int) -> Iterator[Passing]:
        path = self._existing(volume)
        with self._turns.of(volume), _answering(volume):
            there = {name for name in snapshots.names(path) if name.startswith(PREFIX)}
            base = SnapshotId(point_name(replica, since))
            point = 1 + max(since, *(number_of(name, replica) for name in there), 0)
            for name in sorted(there - {base}):
                self._unmark(volume, name)
            below = self._below(volume, path)
            head = Head(
                volume=volume,
                replica=replica,
                point=point,
                since=since if base in there else 0,
                bytes=0,
                at=self._clock.now(),
                image=below[0].name if below else "",
            )
            self._mark(volume, SnapshotId(point_name(replica, point)))
        with _answering(volume), increment(path, head) as passing:
            yield passing

    def _mark(self, volume: VolumeId, point: SnapshotId) -> None:
        """Whoever has it open is asked, where there is one who can be."""
        path = self._existing(volume)
        with self._room.claimed(_FRESH):
            self._snapshots.take(path, point, self._below(volume, path))

    def _unmark(self, volume: VolumeId, point: SnapshotId) -> None:
        path = self._existing(volume)
        self._snapshots.drop(path, point, self._below(volume, path))

    def replicas(self) -> Mapping[VolumeId, ReplicaFound]:
        return self._replicas.found()

    def follow(
        self,
        volume: VolumeId,
        replica: ReplicaId,
        size: int,
        image: ImagePart | None,
        increment: Callable[[int], AbstractContextManager[Passing]],
    ) -> ReplicaFound:
        path = self._path(volume)
        with self._turns.of(volume), _answering(volume):
            if path.exists():
                raise Stranger(f"{volume} itself is in {self._pool}")
            self._may_promise(size)
            sha256 = image.sha256 if image else ""
            if image:
                self._images.path(image)
            return self._replicas.follow(volume, replica, size, sha256, increment)

    def promote(self, volume: VolumeId, replica: ReplicaId, image: ImagePart | None) -> VolumeFound:
        path, mark = self._path(volume), self._carried / volume
        with self._turns.of(volume), _answering(volume):
            if path.exists():
                if not mark.exists() or mark.read_text() != replica:
                    raise Stranger(f"another copy of {volume} is in {self._pool}")
            else:
                self._become(volume, replica, image)
            self._replicas.erase(volume)
            return _found(volume, path)

    def _become(self, volume: VolumeId, replica: ReplicaId, image: ImagePart | None) -> None:
        size = self._replicas.size_of(volume)
        if not size:
            raise NotFound(f"there is no such replica of {volume} here")
        blank = self._staging / f"{volume}.blank"
        try:
            with self._room.claimed(_FRESH + size // 4096):  # counts of references
                backing = Backing(self._images.path(image), image.format) if image else None
                self._blanks.make(blank, size, backing)
                made = self._replicas.finish(volume, replica, blank)
            words = ["check", "-q", "-f", "qcow2", "--", str(made)]
            read = [backing.path] if backing else []
            done = self._jail.run(
                "qemu-img", words, read=read, write=[made], bounds=Bounds(seconds=_CHECK_SECONDS)
            )
            must_be_fine(done, volume)
            write_whole(self._carried / volume, replica.encode(), self._staging)
            put_in_place(made, self._path(volume))
        finally:
            destroy(blank)

    def _set_over(
        self, volume: VolumeId, made: Path, overlay: Overlay, image: ImagePart | None
    ) -> None:
        """What came stood over the image where that was, and does so where it is here."""
        if (Path(overlay.backing).name if overlay.backing else None) != (image and image.sha256):
            raise Corrupt(f"{volume} stands over another image than was said")
        if image is None:
            return
        with self._lock:
            below = self._images.path(image)
            words = ["rebase", "-q", "-u", "-f", "qcow2", "-F", str(image.format), "-b", str(below)]
            done = self._jail.run("qemu-img", [*words, "--", str(made)], read=[below], write=[made])
            must_be_fine(done, volume)

    def _stood_on(self) -> set[str]:
        """The parts below volumes, and below what is being made. A file that can't be read stands on nothing."""
        folders = (self._volumes_folder, self._staging)
        files = (path for folder in folders for path in folder.glob(f"*{views.SUFFIX}"))
        overlays = (overlay for path in files if (overlay := views.overlay(path)))
        below = {Path(overlay.backing).name for overlay in overlays if overlay.backing}
        return below | self._replicas.images()

    def _below(self, volume: VolumeId, path: Path) -> list[Path]:
        """The image that a volume stands over, if any. Raises `Corrupt` when that is none of ours."""
        overlay = views.overlay(path)
        if overlay is None:
            raise Corrupt(f"{volume} is damaged")
        if not overlay.backing:
            return []
        backing = Path(overlay.backing)
        if backing.parent != self._images_folder or not backing.is_file():
            raise Corrupt(f"{volume} stands over an image that is not here")
        return [backing]

    def _existing(self, volume: VolumeId) -> Path:
        path = self._path(volume)
        if not path.exists():
            raise NotFound(f"{volume} is not here")
        return path

    def _may_promise(self, more: int) -> None:
        """Raises `Promised` when all volumes together would promise too many times what the pool has."""
        promised = sum(f.bytes for f in self.volumes().values() if not f.view_of)
        most = self._room.total() * self._thin_times
        if promised + more > most:
            raise Promised(
                "the pool has promised too much already",
                why={"needs": more, "promised": promised, "may_promise": most},
            )


def _folder(root: Path, name: str, mode: int) -> Path:
    (root / name).mkdir(mode=mode, exist_ok=True)
    return root / name


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


@contextmanager
def _answering(volume: VolumeId) -> Iterator[None]:
    """What a file system says of itself is said as we say it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom("the disk is full", detail=str(error)) from error
        told = f"{volume} can't be reached where it is: {error.strerror}"
        raise Unavailable(told, detail=str(error)) from error


def _named(snapshot: SnapshotId) -> SnapshotId:
    """As it stands in files and arguments: an id and nothing else."""
    return SnapshotId(ids.check("snapshot", snapshot))


def _volume_of(path: Path) -> VolumeId | None:
    if path.suffix != views.SUFFIX:
        return None
    try:
        return VolumeId(ids.check("volume", path.stem))
    except BadInput:
        return None


def virtual_bytes(path: Path) -> int:
    """How large the disk in a volume's file is; 0 when that can't be told."""
    overlay = views.overlay(path)
    return overlay.virtual_bytes if overlay else 0


def _found(volume: VolumeId, path: Path) -> VolumeFound:
    """A damaged one is there all the same, with no size: not seeing it would pass for having erased it."""
    overlay = views.overlay(path)
    return VolumeFound(
        volume=volume,
        path=path,
        format=PartFormat.QCOW2,
        bytes=overlay.virtual_bytes if overlay else 0,
        used_bytes=path.stat().st_blocks * SECTOR,
        view_of=views.below(path, overlay) if overlay else None,
    )
