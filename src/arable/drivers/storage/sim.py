"""A pool whose volumes are values. Fetched bytes are really read and digested (rule 7), then dropped."""

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path

from arable.domain.errors import Corrupt, NoRoom, NotFound
from arable.domain.ids import PoolId, VolumeId
from arable.domain.manifest import ImagePart, PartFormat, PoolSeen
from arable.drivers.faults import Faults
from arable.drivers.simhost import SimHost, SimPool
from arable.drivers.storage.protocol import Fetch, VolumeFound

_THIN = 256 * 1024  # what an untouched overlay takes
_HEADER = struct.Struct(">4sIQIIQ")


class SimStorage:
    """`Storage` over a `SimHost`; the pool is made with the host's first driver for it."""

    name = "sim"

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
        if part.sha256 in self._disks.images:
            return path
        self._need(part.bytes)
        with self._faults.around(f"admit {part.sha256[:12]}"):
            _verify(part, fetch)
            self._disks.images[part.sha256] = part.bytes
            self._disks.used_bytes += part.bytes
            self._hardware.files.add(path)
        return path

    def volumes(self) -> Mapping[VolumeId, VolumeFound]:
        return self._disks.volumes.copy()

    def ensure(self, volume: VolumeId, size: int, source: ImagePart | None) -> VolumeFound:
        held = self._disks.volumes.get(volume)
        if held and held.bytes >= size:
            return held
        if size > self._disks.total_bytes:
            raise NoRoom(f"{volume}: {size} bytes are more than the pool has")
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
            self._disks.volumes[volume] = made
            self._hardware.files.add(made.path)
        return made

    def seed(self, volume: VolumeId, meta_data: str, user_data: str) -> Path:
        path = self._folder / f"{volume}.seed"
        if self._disks.seeds.get(volume) != (meta_data, user_data):
            with self._faults.around(f"seed {volume}"):
                self._disks.seeds[volume] = (meta_data, user_data)
                self._hardware.files.add(path)
        return path

    def erase(self, volume: VolumeId) -> None:
        if volume not in self._disks.volumes and volume not in self._disks.seeds:
            return
        with self._faults.around(f"erase {volume}"):
            held = self._disks.volumes.pop(volume, None)
            if held:
                self._disks.used_bytes -= held.used_bytes
                self._hardware.erase(held.path)
            if self._disks.seeds.pop(volume, None):
                self._hardware.erase(self._folder / f"{volume}.seed")

    def usage(self) -> PoolSeen:
        return PoolSeen(
            pool=self._disks.pool,
            total_bytes=self._disks.total_bytes,
            used_bytes=self._disks.used_bytes,
        )

    def _need(self, size: int) -> None:
        free = self._disks.total_bytes - self._disks.used_bytes
        if size > free:
            raise NoRoom(f"{size} bytes are wanted, {free} are free in {self._disks.pool}")


def _verify(part: ImagePart, fetch: Fetch) -> None:
    digest, length, head = hashlib.sha256(), 0, b""
    for piece in fetch(part.sha256):
        digest.update(piece)
        length += len(piece)
        if length > part.bytes:
            break
        if len(head) < _HEADER.size:
            head += piece[: _HEADER.size - len(head)]
    if length != part.bytes or digest.hexdigest() != part.sha256:
        raise Corrupt(f"part {part.sha256[:12]} is not what its digest says")
    if part.format is PartFormat.QCOW2:
        if len(head) < _HEADER.size:
            raise Corrupt(f"part {part.sha256[:12]} is no qcow2")
        magic, _version, backing, _length, _bits, size = _HEADER.unpack(head)
        if magic != b"QFI\xfb" or backing or size != part.virtual_bytes:
            raise Corrupt(f"part {part.sha256[:12]} is not the qcow2 it was said to be")
