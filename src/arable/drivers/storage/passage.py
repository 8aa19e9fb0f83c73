"""Volumes' files that go from pool to pool: read here while nobody writes to them, and written there as they were.

QEMU locks bytes of each image file that it opens (`file_locks.py`). So does a file that is lent here: no QEMU opens it to
write meanwhile, and one that has it open already is found out.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arable.domain.errors import BadInput, Corrupt, Unavailable
from arable.domain.image_header import HEAD_BYTES, Overlay, read_carried
from arable.drivers.storage.file_locks import forbid_writers
from arable.drivers.storage.intake import digest_of
from arable.drivers.storage.protocol import Passing

SECTOR = 512
_PIECE = 1 << 20
_BLOCK = 1 << 16  # so much that is nothing but zeros is not written


@contextmanager
def lent(path: Path) -> Iterator[Passing]:
    """The file, which nobody writes to. Raises `InUse`."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        forbid_writers(opened, path.stem)
        about = os.fstat(opened)
        passing = Passing(about.st_size, about.st_blocks * SECTOR, iter(()))
        passing.pieces = _read(opened, passing)
        yield passing
    finally:
        os.close(opened)


def _read(opened: int, passing: Passing) -> Iterator[bytes]:
    digest, at = hashlib.sha256(), 0
    while at < passing.length:
        piece = os.pread(opened, min(_PIECE, passing.length - at), at)
        if not piece:
            raise Unavailable("it was erased while it was read")
        digest.update(piece)
        at += len(piece)
        yield piece
    passing.sha256 = digest.hexdigest()


def receive(passing: Passing, made: Path) -> Overlay:
    """A volume is in the file, as of `receive_all`, and its header is one of ours. Raises `Corrupt`, `Unavailable`."""
    receive_all(passing, made)
    try:
        with made.open("rb") as file:
            return read_carried(file.read(HEAD_BYTES))
    except BadInput as error:
        raise Corrupt(f"{made.stem} is no volume of ours: {error.public}") from error


def receive_all(passing: Passing, made: Path) -> None:
    """All of it is in the file, on the disk, and was read there once more. Raises `Corrupt`, `Unavailable`."""
    opened = os.open(made, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    at = 0
    try:
        for piece in passing.pieces:
            if at + len(piece) > passing.length:
                raise Corrupt("more came than was said")
            _write_sparsely(opened, piece, at)
            at += len(piece)
        os.ftruncate(opened, passing.length)
        os.fsync(opened)
        # What is read next comes from the disk, where that is possible.
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(opened)
    if at != passing.length:
        raise Unavailable(f"{at} bytes came of {passing.length}")
    if not passing.sha256 or digest_of(made) != passing.sha256:
        raise Corrupt(f"{made.stem} is not on the disk as it was sent")


def _write_sparsely(opened: int, piece: bytes, at: int) -> None:
    zeros = bytes(_BLOCK)
    for begin in range(0, len(piece), _BLOCK):
        block = piece[begin : begin + _BLOCK]
        if block != zeros[: len(block)]:
            os.pwrite(opened, block, at + begin)
