"""Volumes that nobody has written to yet, as `qemu-img` makes them.

Such a file is a function of the volume's size and of the image it stands over: nothing in it is drawn by chance or
dated, and nothing is read from the image. So the tool, whose jail costs more time than all else about a disk, makes
one of each kind; the next ones of that kind are copies of it, from memory and with its holes.
"""

import errno
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from arable.domain.errors import Conflict, NoRoom, Unavailable
from arable.domain.manifest import PartFormat
from arable.domain.units import MIB
from arable.drivers.storage.durable import new_file
from arable.drivers.storage.jail import Done, Jail

_BLOCK = 4096
_KINDS = 64  # that are remembered
_LARGEST = 4 * MIB  # of a file worth remembering: that of a volume of 200 TiB


@dataclass(frozen=True, slots=True)
class Backing:
    """The image under a volume."""

    path: Path
    format: PartFormat


@dataclass(frozen=True, slots=True)
class _Blank:
    """A file: its size, and those blocks of it that are not all zeros."""

    size: int
    blocks: tuple[tuple[int, bytes], ...]


class Blanks:
    """Makes empty volumes. Any number of threads."""

    def __init__(self, jail: Jail) -> None:
        self._jail = jail
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, Backing | None], _Blank] = OrderedDict()

    def make(self, path: Path, size: int, backing: Backing | None) -> None:
        """An empty qcow2 of `size` bytes at `path`, not yet safe on the disk. What is there is overwritten.

        Raises `NoRoom` or `Unavailable`; the file is then in no good state.
        """
        new_file(path)
        kind = (size, backing)
        with self._lock:
            blank = self._known.get(kind)
            if blank:
                self._known.move_to_end(kind)
        if blank:
            _write(path, blank)
            return
        self._create(path, size, backing)
        if path.stat().st_size <= _LARGEST:
            with self._lock:
                self._known[kind] = _read(path)
                while len(self._known) > _KINDS:
                    self._known.popitem(last=False)

    def _create(self, path: Path, size: int, backing: Backing | None) -> None:
        # The image is named with its format and not opened (`-u`): nothing is ever guessed.
        over = ["-u", "-F", str(backing.format), "-b", str(backing.path)] if backing else []
        words = ["create", "-q", "-f", "qcow2", *over, "--", str(path), str(size)]
        must_be_fine(self._jail.run("qemu-img", words, write=[path]), path.stem)


def must_be_fine(done: Done, volume: str) -> None:
    """Raise what it means that `qemu-img` failed on a volume."""
    if done.ok:
        return
    told = f"qemu-img ended with {done.code}: {done.told}"
    if "No space left" in done.told:
        raise NoRoom("the disk is full", detail=told)
    if "lock" in done.told:
        raise Conflict(f"{volume} is in use", detail=told)
    raise Unavailable(f"{volume} can't be made so", detail=told)


def _read(path: Path) -> _Blank:
    content = path.read_bytes()
    starts = range(0, len(content), _BLOCK)
    blocks = ((at, content[at : at + _BLOCK]) for at in starts)
    return _Blank(len(content), tuple((at, block) for at, block in blocks if any(block)))


def _write(path: Path, blank: _Blank) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        with os.fdopen(opened, "wb") as file:
            for at, block in blank.blocks:
                file.seek(at)
                file.write(block)
            file.truncate(blank.size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom("the disk is full", detail=str(error)) from error
