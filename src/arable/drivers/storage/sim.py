"""A pool whose volumes are values. Fetched bytes are really read and digested (rule 7), then dropped."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from arable.domain.errors import Conflict, Corrupt, NoRoom, NotFound
from arable.domain.ids import OperationId, PoolId, ReplicaId, SnapshotId, VolumeId
from arable.domain.manifest import ImagePart, PartFormat, PoolSeen
from arable.drivers.faults import Faults
from arable.drivers.simhost import SimHost, SimPool, SimReplica
from arable.drivers.storage.protocol import (
    CachedImage,
    Fetch,
    Flat,
    InUse,
    Passing,
    Promised,
    ReplicaFound,
    Stranger,
    VolumeFound,
)

_THIN = 256 * 1024  # what an untouched overlay takes
_HEADER = struct.Struct(">4sIQIIQ")
_TABLES = struct.Struct(">IIQQIIQ")
_CLUSTER = 4096
_MARK = b"simulated: "


class SimStorage:
    """`Storage` over a `SimHost`; the pool is made with the host's first driver for it."""

    name = "sim"
    by_mount = False

    def __init__(self, hardware: SimHost, pool: PoolId, faults: Faults | None = None) -> None:
        self._hardware = hardware
        self._disks = hardware.pools.setdefault(pool, SimPool(pool))
        self._folder = Path("sim", pool)
        self._faults = faults or Faults()

    @property
    def pool(self) -> PoolId:
        return self._disks.pool

    def images(self) -> frozenset[str]:
        return frozenset(self._disks.images)

    def admit(self, part: ImagePart, fetch: Fetch) -> Path:
        path = self._folder / part.sha256
        self._used(part.sha256)
        if part.sha256 in self._disks.images:
            return path
        self._need(part.bytes)
        with self._faults.around(f"admit {part.sha256[:12]}"):
            self._disks.begins[part.sha256] = _verify(part, fetch)
            self._disks.images[part.sha256] = part.bytes
            self._disks.used_bytes += part.bytes
            self._hardware.files.add(path)
        return path

    def cached(self) -> Sequence[CachedImage]:
        below = self._below()
        for sha256 in below:
            self._used(sha256)
        return [
            CachedImage(
                sha256=sha256,
                length=length,
                used_at=self._disks.used_at[sha256],
                in_use=sha256 in below,
            )
            for sha256, length in sorted(self._disks.images.items())
        ]

    def evict(self, sha256: str) -> None:
        if sha256 in self._below():
            raise Conflict(f"something in {self.pool} stands on image part {sha256[:12]}")
        if sha256 in self._disks.images:
            with self._faults.around(f"evict {sha256[:12]}"):
                self._disks.used_bytes -= self._disks.images.pop(sha256)
                self._hardware.files.discard(self._folder / sha256)

    def _below(self) -> set[str]:
        replicas = self._disks.replicas.values()
        return {*self._disks.bases.values(), *(one.base for one in replicas if one.base)}

    def _used(self, sha256: str) -> None:
        self._disks.used_at[sha256] = self._hardware.clock.now()

    def volumes(self) -> Mapping[VolumeId, VolumeFound]:
        return self._disks.volumes.copy()

    def ensure(self, volume: VolumeId, size: int, source: ImagePart | None) -> VolumeFound:
        held = self._disks.volumes.get(volume)
        if held and held.bytes >= size:
            return held
        if volume in self._disks.replicas:
            raise Conflict(f"a replica of {volume} is here, which is not the volume yet")
        if size > self._disks.total_bytes:
            raise Promised(f"{volume}: {size} bytes are more than the pool has")
        if held is None:
            self._need(_THIN)
            if source and source.sha256 not in self._disks.images:
                raise NotFound(f"{volume}: its image was not admitted here")
        with self._faults.around(f"ensure {volume}"):
            made = VolumeFound(
                volume=volume,
                path=held.path if held else self._folder / volume,
                format=PartFormat.QCOW2,
                bytes=max(size, source.virtual_bytes if source else 0),
                used_bytes=held.used_bytes if held else _THIN,
            )
            if held is None:
                self._disks.used_bytes += _THIN
                if source:
                    self._used(source.sha256)
                    self._disks.bases[volume] = source.sha256
                if source and (first := self._disks.begins.get(source.sha256)):
                    self._disks.contents[volume] = json.loads(first)
            self._disks.volumes[volume] = made
            self._hardware.files.add(made.path)
        return made

    def view(self, volume: VolumeId, of: VolumeId) -> VolumeFound:
        held, shown = self._disks.volumes.get(volume), self._there(of)
        if held:
            return held
        self._need(_THIN)
        with self._faults.around(f"view {of} by {volume}"):
            path = self._folder / volume
            made = replace(shown, volume=volume, path=path, used_bytes=_THIN, view_of=of)
            self._disks.used_bytes += _THIN
            self._disks.contents[volume] = self._disks.contents.get(of)
            self._disks.volumes[volume] = made
            self._hardware.files.add(path)
        return made

    def seed(self, volume: VolumeId, meta_data: str, user_data: str) -> Path:
        path = self._folder / f"{volume}.seed"
        if self._disks.seeds.get(volume) != (meta_data, user_data):
            with self._faults.around(f"seed {volume}"):
                self._disks.seeds[volume] = (meta_data, user_data)
                self._hardware.files.add(path)
        return path

    def erase(self, volume: VolumeId) -> None:
        self._disks.replicas.pop(volume, None)
        if volume not in self._disks.volumes and volume not in self._disks.seeds:
            return
        if any(found.view_of == volume for found in self._disks.volumes.values()):
            raise Conflict(f"there are views of {volume}")
        with self._faults.around(f"erase {volume}"):
            held = self._disks.volumes.pop(volume, None)
            if held:
                self._disks.erased.add(volume)
                self._disks.used_bytes -= held.used_bytes
                self._hardware.erase(held.path)
            if self._disks.seeds.pop(volume, None):
                self._hardware.erase(self._folder / f"{volume}.seed")
            disks = self._disks
            of_all = (disks.contents, disks.kept, disks.restored, disks.bases, disks.carried)
            for of_it in (*of_all, disks.points):
                of_it.pop(volume, None)

    def snapshots(self, volume: VolumeId) -> frozenset[SnapshotId]:
        self._there(volume)
        return frozenset(self._disks.kept.get(volume, ()))

    def take(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        if snapshot not in self.snapshots(volume):
            self._closed(volume)
            with self._faults.around(f"take {snapshot}"):
                self._disks.take(volume, snapshot)

    def drop(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        if snapshot in self.snapshots(volume) or (volume, snapshot) in self._disks.late:
            self._closed(volume)
            with self._faults.around(f"drop {snapshot}"):
                self._disks.drop(volume, snapshot)

    def restore(
        self, volume: VolumeId, snapshot: SnapshotId, size: int, by: OperationId
    ) -> VolumeFound:
        held = self._there(volume)
        if self._disks.restored.get(volume) != by:
            if snapshot not in self.snapshots(volume):
                raise NotFound(f"{volume} has no such snapshot")
            self._closed(volume)
            with self._faults.around(f"restore {volume}"):
                self._disks.contents[volume] = self._disks.kept[volume][snapshot]
                self._disks.restored[volume] = by
                held = self._disks.volumes[volume] = replace(held, bytes=max(held.bytes, size))
        return held

    def copy(self, volume: VolumeId, snapshot: SnapshotId, to: VolumeId, size: int) -> VolumeFound:
        if to in self._disks.volumes:
            return self._disks.volumes[to]
        of = self._there(volume)
        if snapshot not in self.snapshots(volume):
            raise NotFound(f"{volume} has no such snapshot")
        self._need(_THIN)
        with self._faults.around(f"copy {snapshot} to {to}"):
            path = self._folder / to
            made = replace(of, volume=to, path=path, bytes=max(size, of.bytes), used_bytes=_THIN)
            self._disks.contents[to] = self._disks.kept[volume][snapshot]
            self._disks.volumes[to] = made
            if base := self._disks.bases.get(volume):
                self._disks.bases[to] = base
            self._disks.used_bytes += _THIN
            self._hardware.files.add(path)
        return made

    @contextmanager
    def flat(self, volume: VolumeId, snapshot: SnapshotId) -> Iterator[Flat]:
        of = self._there(volume)
        if snapshot not in self.snapshots(volume):
            raise NotFound(f"{volume} has no such snapshot")
        with self._faults.around(f"flatten {snapshot}"):
            made = flat_file(of.bytes, self._disks.kept[volume][snapshot])
        yield Flat(
            sha256=hashlib.sha256(made).hexdigest(), length=len(made), read=lambda: iter([made])
        )

    @contextmanager
    def lend(self, volume: VolumeId) -> Iterator[Passing]:
        held = self._there(volume)
        self._closed(volume)
        kept = self._disks.kept.get(volume, {})
        told = {
            "bytes": held.bytes,
            "used": held.used_bytes,
            "content": self._disks.contents.get(volume),
            "kept": kept,
            "base": self._disks.bases.get(volume, ""),
        }
        with self._faults.around(f"lend {volume}"):
            file = json.dumps(told).encode()
        yield Passing(len(file), held.used_bytes, iter([file]), hashlib.sha256(file).hexdigest())

    def take_in(
        self,
        volume: VolumeId,
        size: int,
        image: ImagePart | None,
        passing: Callable[[], AbstractContextManager[Passing]],
        by: OperationId,
    ) -> VolumeFound:
        held = self._disks.volumes.get(volume)
        if held:
            if self._disks.carried.get(volume) == by:
                return held
            raise Stranger(f"another copy of {volume} is in {self.pool}, which is left as it is")
        if size > self._disks.total_bytes:
            raise Promised(f"{volume}: {size} bytes are more than the pool has")
        with passing() as sent:
            self._need(sent.room)
            file = b"".join(sent.pieces)
            if hashlib.sha256(file).hexdigest() != sent.sha256:
                raise Corrupt(f"{volume} is not on the disk as it was sent")
        told = json.loads(file)
        if told["base"] != (image.sha256 if image else ""):
            raise Corrupt(f"{volume} stands over another image than was said")
        if image and image.sha256 not in self._disks.images:
            raise NotFound(f"{volume}: its image was not admitted here")
        with self._faults.around(f"take in {volume}"):
            path = self._folder / volume
            made = VolumeFound(
                volume=volume,
                path=path,
                format=PartFormat.QCOW2,
                bytes=told["bytes"],
                used_bytes=told["used"],
            )
            self._disks.contents[volume] = told["content"]
            if told["kept"]:
                self._disks.kept[volume] = told["kept"]
            if image:
                self._used(image.sha256)
                self._disks.bases[volume] = image.sha256
            self._disks.carried[volume] = by
            self._disks.volumes[volume] = made
            self._disks.erased.discard(volume)  # it may have been here before
            self._disks.used_bytes += made.used_bytes
            self._hardware.files.add(path)
        return made

    @contextmanager
    def increment(self, volume: VolumeId, replica: ReplicaId, since: int) -> Iterator[Passing]:
        held, there = self._there(volume), self._disks.points.setdefault(volume, {})
        base = f"{replica}.{since}"
        numbers = [int(name.rpartition(".")[2]) for name in there if name.startswith(replica)]
        point = 1 + max(since, *numbers, 0)
        with self._faults.around(f"mark {point} of {volume}"):
            content = self._disks.contents.get(volume)
            kept = {name: of for name, of in there.items() if name == base}
            self._disks.points[volume] = {**kept, f"{replica}.{point}": content}
        told = {
            "replica": replica,
            "point": point,
            "since": since if base in there else 0,
            "bytes": held.bytes,
            "at": self._hardware.clock.now().isoformat(),
            "content": content,
            "base": self._disks.bases.get(volume, ""),
        }
        file = json.dumps(told).encode()
        yield Passing(len(file), _THIN, iter([file]), hashlib.sha256(file).hexdigest())

    def replicas(self) -> Mapping[VolumeId, ReplicaFound]:
        return {volume: one.found for volume, one in self._disks.replicas.items()}

    def follow(
        self,
        volume: VolumeId,
        replica: ReplicaId,
        size: int,
        image: ImagePart | None,
        increment: Callable[[int], AbstractContextManager[Passing]],
    ) -> ReplicaFound:
        if volume in self._disks.volumes:
            raise Stranger(f"{volume} itself is in {self.pool}")
        if image and image.sha256 not in self._disks.images:
            raise NotFound(f"{volume}: its image was not admitted here")
        held = self._disks.replicas.get(volume)
        if held and held.found.replica != replica:
            held = None
            del self._disks.replicas[volume]
        have = held.found.point if held else 0
        with increment(have) as sent:
            self._need(sent.room)
            file = b"".join(sent.pieces)
            if hashlib.sha256(file).hexdigest() != sent.sha256:
                raise Corrupt(f"what came of {volume} is not as it was sent")
        told = json.loads(file)
        if told["base"] != (image.sha256 if image else "") or told["since"] not in (0, have):
            raise Corrupt(f"what came is no increment of {volume} since point {have}")
        if told["bytes"] > size:
            raise NoRoom(f"{volume} has grown, and its replica may not have so much room yet")
        found = ReplicaFound(
            replica=replica,
            volume=volume,
            point=told["point"],
            at=datetime.fromisoformat(told["at"]),
            bytes=told["bytes"],
        )
        with self._faults.around(f"follow {volume}"):
            self._disks.replicas[volume] = SimReplica(found, told["content"], told["base"])
        return found

    def promote(self, volume: VolumeId, replica: ReplicaId, image: ImagePart | None) -> VolumeFound:
        held, kept = self._disks.volumes.get(volume), self._disks.replicas.get(volume)
        if held:
            if self._disks.carried.get(volume) == replica:
                return held
            raise Stranger(f"another copy of {volume} is in {self.pool}")
        if kept is None or kept.found.replica != replica:
            raise NotFound(f"there is no such replica of {volume} here")
        if kept.base != (image.sha256 if image else ""):
            raise Corrupt(f"{volume} stands over another image than was said")
        with self._faults.around(f"promote {volume}"):
            path = self._folder / volume
            made = VolumeFound(
                volume=volume,
                path=path,
                format=PartFormat.QCOW2,
                bytes=kept.found.bytes,
                used_bytes=_THIN,
            )
            self._disks.contents[volume] = kept.content
            if kept.base:
                self._disks.bases[volume] = kept.base
            self._disks.carried[volume] = replica
            self._disks.volumes[volume] = made
            self._disks.erased.discard(volume)
            self._disks.used_bytes += made.used_bytes
            self._hardware.files.add(path)
            del self._disks.replicas[volume]
        return made

    def _there(self, volume: VolumeId) -> VolumeFound:
        held = self._disks.volumes.get(volume)
        if held is None:
            raise NotFound(f"{volume} is not here")
        return held

    def _closed(self, volume: VolumeId) -> None:
        """No guest has it open: what QEMU's lock on a file sees to."""
        if self._there(volume).path in self._hardware.used_files:
            raise InUse(f"{volume} is in use")

    def usage(self) -> PoolSeen:
        return PoolSeen(
            pool=self._disks.pool,
            total_bytes=self._disks.total_bytes,
            used_bytes=self._disks.used_bytes,
            images=len(self._disks.images),
            image_bytes=sum(self._disks.images.values()),
        )

    def _need(self, size: int) -> None:
        free = self._disks.total_bytes - self._disks.used_bytes
        if size > free:
            raise NoRoom(f"{size} bytes are wanted, {free} are free in {self._disks.pool}")


def flat_file(size: int, content: object) -> bytes:
    """A qcow2 file of which every header is as it has to be, and what is on the disk is not where it would be."""
    entries = -(-size // (_CLUSTER * _CLUSTER // 8))
    table = -(-entries * 8 // _CLUSTER) * _CLUSTER
    head = _HEADER.pack(b"QFI\xfb", 2, 0, 0, _CLUSTER.bit_length() - 1, size)
    head += _TABLES.pack(0, entries, _CLUSTER, _CLUSTER + table, 1, 0, 0)
    blank = bytes(_CLUSTER - len(head)) + bytes(table + _CLUSTER)
    return head + blank + _MARK + json.dumps(content).encode()


def _verify(part: ImagePart, fetch: Fetch) -> bytes:
    """What is on it, if a simulated pool wrote it."""
    digest, length, head, tail = hashlib.sha256(), 0, b"", b""
    for piece in fetch(part.sha256):
        digest.update(piece)
        length += len(piece)
        if length > part.bytes:
            break
        if len(head) < _HEADER.size:
            head += piece[: _HEADER.size - len(head)]
        tail = (tail + piece)[-_CLUSTER:]
    if length != part.bytes or digest.hexdigest() != part.sha256:
        raise Corrupt(f"part {part.sha256[:12]} is not what its digest says")
    if part.format is PartFormat.QCOW2:
        if len(head) < _HEADER.size:
            raise Corrupt(f"part {part.sha256[:12]} is no qcow2")
        magic, _version, backing, _length, _bits, size = _HEADER.unpack(head)
        if magic != b"QFI\xfb" or backing or size != part.virtual_bytes:
            raise Corrupt(f"part {part.sha256[:12]} is not the qcow2 it was said to be")
    return tail.partition(_MARK)[2]
