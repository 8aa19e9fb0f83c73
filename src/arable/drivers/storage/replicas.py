"""Replicas of other pools' volumes, in a directory of their own: each takes whole points, and none of half a point.

    <volume>-<point>.data   the replica's file, named by the point from which all of it was sent
    <volume>.json           which replica it is, its file, its last whole point
    <volume>.increment      what came for the next point, complete and compared

An increment gets its name when all of it is on the disk. From then on it is the newest point: applied to the file, written
down, and dropped; whoever dies in between has it applied again, which does no harm. Before that the file is as it was.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from arable.domain import ids
from arable.domain.errors import BadInput, Corrupt, NoRoom, NotFound, Unavailable
from arable.domain.ids import ReplicaId, VolumeId
from arable.domain.units import MIB
from arable.drivers.storage import passage, points, replica_file
from arable.drivers.storage.durable import destroy, new_file, put_in_place, write_whole
from arable.drivers.storage.points import What
from arable.drivers.storage.protocol import Passing, ReplicaFound
from arable.drivers.storage.room import Room

PREFIX = "replica-"
"""Of the names of snapshots that are points of a replica."""
_LONGEST = 4096  # of an increment's first line
_FRESH = MIB


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of an increment. `since` 0: all of the disk is in it."""

    volume: VolumeId
    replica: ReplicaId
    point: int
    since: int
    bytes: int
    at: datetime
    image: str = ""  # SHA-256 of what the volume stands over


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    head: Head
    file: str


def point_name(replica: ReplicaId, point: int) -> str:
    """What a point is called among a file's snapshots."""
    return f"{ids.check('replica', replica)}.{point}"


def number_of(name: str, replica: ReplicaId) -> int:
    """The point that a snapshot is, of that replica; 0 for none."""
    whose, _, number = name.rpartition(".")
    return int(number) if whose == replica and number.isdecimal() else 0


@contextmanager
def increment(path: Path, head: Head) -> Iterator[Passing]:
    """The point of that head, which is a snapshot of the file. Raises `NotFound`, `Corrupt`."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        now = points.named(opened, path.stem, point_name(head.replica, head.point))
        since = None
        if head.since:
            since = points.named(opened, path.stem, point_name(head.replica, head.since))
        runs = list(points.changed(opened, since, now))
        line = msgspec.json.encode(msgspec.structs.replace(head, bytes=now.bytes)) + b"\n"
        length, data = points.length_of(runs)
        passing = Passing(len(line) + length, data, iter(()))

        def pieces() -> Iterator[bytes]:
            digest = sha256(line)
            yield line
            for piece in points.frames(opened, runs):
                digest.update(piece)
                yield piece
            # What is not kept any more may have been written over while it was read.
            there = os.fstat(opened)
            if not there.st_nlink or points.kept(opened, path.stem).get(now.name) != now:
                raise Unavailable("the point went away while it was read")
            passing.sha256 = digest.hexdigest()

        passing.pieces = pieces()
        yield passing
    finally:
        os.close(opened)


class Replicas:
    """Those of one pool. Whoever calls sees to it that nobody else does anything to that volume's at the same time."""

    def __init__(self, folder: Path, staging: Path, room: Room) -> None:
        self._folder = folder
        self._staging = staging
        self._room = room

    def found(self) -> Mapping[VolumeId, ReplicaFound]:
        """Every one that has a whole point."""
        found = {}
        for path in self._folder.glob("*.json"):
            kept = self._kept(VolumeId(path.stem))
            if kept:
                found[kept.head.volume] = _found(kept.head)
        return found

    def images(self) -> set[str]:
        """SHA-256 of what replicas stand over."""
        kept = (self._kept(volume) for volume in self.found())
        return {one.head.image for one in kept if one and one.head.image}

    def has(self, volume: VolumeId) -> bool:
        """Whether anything of a replica of it is here."""
        return bool(self._all(volume))

    def follow(
        self,
        volume: VolumeId,
        replica: ReplicaId,
        size: int,
        image: str,
        increment: Callable[[int], AbstractContextManager[Passing]],
    ) -> ReplicaFound:
        """See `Replicates`."""
        kept = self.settle(volume)
        if kept and kept.head.replica != replica:
            self.erase(volume)
            kept = None
        made = self._staging / f"{volume}.increment"
        try:
            with increment(kept.head.point if kept else 0) as sent:
                # There is room now, for what comes and for where it goes; what is written counts by itself.
                with self._room.claimed(_FRESH + 2 * sent.room):
                    pass
                passage.receive_all(sent, made)
            head = _head(made)
            _check(head, kept, volume, replica, size, image)
            for _frame in _checked(points.taken(made, _begin(made)), head.bytes):
                pass  # whatever it says can be applied
            put_in_place(made, self._folder / made.name)
        finally:
            destroy(made)
        settled = self.settle(volume)
        assert settled, "there is an increment"
        return _found(settled.head)

    def settle(self, volume: VolumeId) -> _Kept | None:
        """What came whole is applied; the last whole point, if there is one."""
        waiting, kept = self._folder / f"{volume}.increment", self._kept(volume)
        if not waiting.exists():
            return kept
        head = _head(waiting)
        if kept is None or (kept.head.replica, kept.head.point) != (head.replica, head.point):
            kept = self._applied(waiting, head, kept)
        for path in self._all(volume):
            if path.suffix == ".data" and path.name != kept.file:
                destroy(path)
        # Out of the way in one step: cut to nothing under its name, it would pass for a damaged one.
        destroy(waiting.replace(self._staging / f"{volume}.applied"))
        return kept

    def _applied(self, waiting: Path, head: Head, kept: _Kept | None) -> _Kept:
        begin = _begin(waiting)
        if head.since:
            if kept is None or kept.head.point != head.since:
                raise Corrupt(f"the increment of {head.volume} is to nothing that is here")
            name, made = kept.file, self._folder / kept.file
        else:
            name = f"{head.volume}-{head.point}.data"
            made = new_file(self._staging / name)
        opened = os.open(made, os.O_RDWR | os.O_NOFOLLOW)
        try:
            replica_file.apply(opened, _checked(points.taken(waiting, begin), head.bytes))
            os.fsync(opened)
        finally:
            os.close(opened)
        if not head.since:
            put_in_place(made, self._folder / name)
        now = _Kept(head=head, file=name)
        write_whole(self._folder / f"{head.volume}.json", msgspec.json.encode(now), self._staging)
        return now

    def finish(self, volume: VolumeId, replica: ReplicaId, blank: Path) -> Path:
        """The file of a replica is a qcow2 with the header of `blank`, which is an empty one over its image.

        Raises `NotFound`.
        """
        kept = self.settle(volume)
        if kept is None or kept.head.replica != replica:
            raise NotFound(f"there is no such replica of {volume} here")
        path = self._folder / kept.file
        opened = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            replica_file.finish(opened, kept.head.bytes, blank)
            os.fsync(opened)
        finally:
            os.close(opened)
        return path

    def size_of(self, volume: VolumeId) -> int:
        """Bytes of the disk at the last whole point; 0 when there is none."""
        kept = self._kept(volume)
        return kept.head.bytes if kept else 0

    def erase(self, volume: VolumeId) -> None:
        """Nothing of it is here. What says that there is one goes first."""
        for path in sorted(self._all(volume), key=lambda path: path.suffix != ".json"):
            destroy(path)

    def _all(self, volume: VolumeId) -> list[Path]:
        return [*self._folder.glob(f"{volume}.*"), *self._folder.glob(f"{volume}-*")]

    def _kept(self, volume: VolumeId) -> _Kept | None:
        with suppress(FileNotFoundError, msgspec.DecodeError):
            kept = msgspec.json.decode((self._folder / f"{volume}.json").read_bytes(), type=_Kept)
            return kept if (self._folder / kept.file).exists() else None
        return None


def _found(head: Head) -> ReplicaFound:
    return ReplicaFound(
        replica=head.replica, volume=head.volume, point=head.point, at=head.at, bytes=head.bytes
    )


def _head(path: Path) -> Head:
    with path.open("rb") as file:
        line = file.readline(_LONGEST)
    try:
        head = msgspec.json.decode(line, type=Head)
        ids.check("volume", head.volume)
        ids.check("replica", head.replica)
    except (msgspec.DecodeError, BadInput) as error:
        raise Corrupt("what came is no increment") from error
    return head


def _begin(path: Path) -> int:
    """Where the frames of an increment begin."""
    with path.open("rb") as file:
        return len(file.readline(_LONGEST))


def _check(
    head: Head,
    kept: _Kept | None,
    volume: VolumeId,
    replica: ReplicaId,
    size: int,
    image: str,
) -> None:
    have = kept.head.point if kept else 0
    if (head.volume, head.replica) != (volume, replica) or head.since not in (0, have):
        raise Corrupt(f"what came is no increment of {volume} since point {have}")
    if head.point <= have or not 0 < head.bytes <= replica_file.LARGEST:
        raise Corrupt(f"what came is no point of {volume} after {have}")
    if head.image != image:
        raise Corrupt(f"{volume} stands over another image than was said")
    if head.bytes > size:
        raise NoRoom(f"{volume} has grown, and its replica may not have so much room yet")


def _checked(
    frames: Iterator[tuple[What, int, int, bytes]], size: int
) -> Iterator[tuple[What, int, int, bytes]]:
    """Those frames, none of which is beyond the disk's end. Raises `Corrupt`."""
    most = -(-size // points.CLUSTER)
    for what, first, count, data in frames:
        if first + count > most:
            raise Corrupt("what came is beyond the disk's end")
        yield what, first, count, data
