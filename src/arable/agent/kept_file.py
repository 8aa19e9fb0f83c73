"""A small file that is replaced as a whole, also on a file system that is full.

Disks are thin: guests may take the last byte of the file system on which their agent lives, too. If it could not write down then
that one of them is to go, nobody could make room any more. So each such file has another one beside it, with as many blocks of its
own: what is new is written over that one, and then the two change names. Blanks at the end, which all who read it pass over,
keep both as large as they are until twice as much is needed.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from arable.drivers.storage.durable import sync_folder

_STEP = 4096


class KeptFile:
    """Its content is text of a kind to which blanks at the end add nothing. Nobody else may read it."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._spare = path.with_name(f".{path.name}.spare")
        self._old = path.with_name(f".{path.name}.old")
        self._durable = durable

    def write(self, content: bytes, size: int = 0) -> None:
        """Replace what is there; raises `OSError`, and then that still stands. When it returns, it is on the disk, if durable.

        `size`: what `size` said, if it was asked.
        """
        size = size or self.size(len(content))
        self._tidy()
        with _opened(self._spare) as file:
            file.write(content.ljust(size))
            file.truncate()
            file.flush()
            if self._durable:
                os.fsync(file.fileno())
        with suppress(
            OSError
        ):  # there is none yet, or it can't have two names: then no spare is left
            os.link(self._path, self._old)
        os.replace(self._spare, self._path)  # noqa: PTH105 - tests have it fail
        if self._durable:
            sync_folder(self._path.parent)
        with suppress(OSError):
            os.replace(self._old, self._spare)  # noqa: PTH105
        with (
            suppress(OSError),
            _opened(self._spare) as file,
        ):  # it has grown: the next one has to fit as well
            os.posix_fallocate(file.fileno(), 0, size)

    def remove(self) -> None:
        """There is no such file any more."""
        for path in (self._path, self._spare, self._old):
            path.unlink(missing_ok=True)

    def size(self, needed: int) -> int:
        """How many bytes it will have, blanks among them, when so many are written next."""
        try:
            there = self._path.stat().st_size
        except FileNotFoundError:
            there = 0
        if needed <= there <= max(_STEP, 8 * needed):
            return there
        return -(-2 * max(1, needed) // _STEP) * _STEP

    def _tidy(self) -> None:
        """Whoever died between two names left the third one."""
        if not self._old.exists():
            return
        if self._old.samefile(self._path):
            self._old.unlink()
        else:
            os.replace(self._old, self._spare)  # noqa: PTH105


def _opened(path: Path) -> BinaryIO:
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(opened, "r+b")
