"""NoCloud seeds: the small read-only disk from which a guest's cloud-init learns its name, keys and user data.

The image is made in memory: what is in a seed is secret, so it stands in no argument list and in no other file. The
same content gives the same bytes on every host: the times that the library puts in are taken out again. A digest of
the content is the image's application id, so a seed says itself what it was made from, and one that is already
right is left alone.
"""

import hashlib
import io
import re
import struct
from pathlib import Path

import pycdlib

from arable.domain.ids import VolumeId
from arable.drivers.storage.durable import destroy, new_file, put_in_place

_SECTOR = 2048
_FIRST = 16 * _SECTOR  # descriptors: primary, Joliet
_APPLICATION = slice(574, 702)  # within a descriptor
_DATES = slice(813, 881)  # four of them: created, changed, expires, counts from
_ROOT_AT, _ROOT_LENGTH = 156 + 2, 156 + 10
_NO_DATE = b"0" * 16 + b"\0"
_STAMPS = re.compile(rb"TF\x1a\x01\x0e", re.DOTALL)  # Rock Ridge: changed, read, attributes changed
_NO_STAMP = bytes([70, 1, 1, 0, 0, 0, 0])
_PADDING = bytes(
    150 * _SECTOR
)  # busybox looks for a label in 68 KiB, and not at all on a smaller disk
_ID = "cidata"
_SHORT = {"meta-data": "/META_DAT.;1", "user-data": "/USER_DAT.;1"}


class Seeds:
    """A folder of seeds, one for each volume that has any."""

    def __init__(self, folder: Path, staging: Path) -> None:
        self._folder = folder
        self._staging = staging

    def ensure(self, volume: VolumeId, meta_data: str, user_data: str) -> Path:
        """The seed with this content, kept if it already is."""
        path = self._folder / f"{volume}.iso"
        digest = _digest(meta_data, user_data)
        if _made_from(path) != digest:
            image = _image(digest, {"meta-data": meta_data, "user-data": user_data})
            put_in_place(new_file(self._staging / path.name, image), path)
        return path

    def remove(self, volume: VolumeId) -> None:
        """Gone, and unreadable."""
        destroy(self._folder / f"{volume}.iso")

    def strays(self, volumes: frozenset[VolumeId]) -> list[Path]:
        """Seeds of volumes that are not among those."""
        return sorted(path for path in self._folder.iterdir() if path.stem not in volumes)


def _image(digest: str, content: dict[str, str]) -> bytes:
    """A disk with these files, under the long names of both Rock Ridge (Unix) and Joliet (Windows)."""
    disk = pycdlib.PyCdlib()
    disk.new(interchange_level=3, vol_ident=_ID, app_ident_str=digest, joliet=3, rock_ridge="1.09")
    for name, text in content.items():
        data = text.encode()
        disk.add_fp(
            io.BytesIO(data),
            len(data),
            _SHORT[name],
            rr_name=name,
            joliet_path=f"/{name}",
            file_mode=0o100444,
        )
    made = io.BytesIO()
    disk.write_fp(made)
    disk.close()
    return _timeless(made.getvalue()) + _PADDING


def _digest(meta_data: str, user_data: str) -> str:
    content = f"{len(meta_data)} {meta_data}{user_data}"
    return hashlib.sha256(content.encode()).hexdigest()


def _made_from(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(_FIRST)
            return file.read(_SECTOR)[_APPLICATION].decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _timeless(image: bytes) -> bytes:
    """The same image as if made at no time at all: only descriptors and the root directory hold times."""
    made = bytearray(image)
    at = _FIRST
    while made[at] != 255:  # the terminator among descriptors
        if made[at] in {1, 2}:
            made[at + _DATES.start : at + _DATES.stop] = _NO_DATE * 4
            _still(made, at + 156, at + 190)
            (first,) = struct.unpack_from("<I", made, at + _ROOT_AT)
            (length,) = struct.unpack_from("<I", made, at + _ROOT_LENGTH)
            _still_directory(made, first * _SECTOR, first * _SECTOR + length)
        at += _SECTOR
    return bytes(made)


def _still_directory(image: bytearray, at: int, end: int) -> None:
    while at < end and image[at]:  # each record begins with its length; ours fit in one sector
        _still(image, at, at + image[at])
        for found in list(_STAMPS.finditer(image, at, at + image[at])):
            image[found.end() : found.end() + 21] = _NO_STAMP * 3
        at += image[at]


def _still(image: bytearray, at: int, end: int) -> None:
    assert end - at >= 34
    image[at + 18 : at + 25] = _NO_STAMP
