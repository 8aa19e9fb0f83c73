"""How much room a folder's files may take, and who is filling it right now.

Two bounds hold at once: what the file system still has, less a reserve (a file system that is full to the brim
stops guests in the middle of a write), and the capacity that an operator gave us, if any. Whoever is about to
write claims the room first, so that two who come at once can't both be promised the last gigabyte.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from arable.domain.errors import NoRoom
from arable.domain.units import GIB

RESERVE = 1 * GIB


@dataclass(frozen=True, slots=True)
class Use:
    """Bytes in all and in use."""

    total: int
    used: int


@dataclass
class Room:
    """`capacity` of None means all of the file system; `reserve` of None a twentieth of it, a GiB at most."""

    folder: Path
    capacity: int | None = None
    reserve: int | None = None
    _claimed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def use(self) -> Use:
        """What an operator sees. Of a whole file system everything in it counts, whoever put it there."""
        disk = os.statvfs(self.folder)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        if self.capacity is None:
            return Use(total, max(0, total - free))
        return Use(self.capacity, min(self.capacity, taken(self.folder)))

    def free(self, there: int = 0) -> int:
        """What may still be written; less than nothing when the reserve is being eaten. `there`: so many bytes of it are on
        that file system already, and will be of the folder.
        """
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize + there
        total = disk.f_blocks * disk.f_frsize
        if self.capacity is not None:
            total = min(total, self.capacity)
            free = min(free, self.capacity - taken(self.folder))
        reserve = min(RESERVE, total // 20) if self.reserve is None else self.reserve
        return free - reserve - self._claimed

    def total(self) -> int:
        """The capacity, or the file system's size if that is smaller."""
        disk = os.statvfs(self.folder)
        size = disk.f_blocks * disk.f_frsize
        return size if self.capacity is None else min(size, self.capacity)

    def claim(self, count: int, there: int = 0) -> None:
        """Set `count` bytes aside until they are given back. Raises `NoRoom`. `there`: as for `free`."""
        with self._lock:
            free = self.free(there)
            if count > free:
                raise NoRoom(
                    "the disk has not enough room", why={"needs": count, "free": max(0, free)}
                )
            self._claimed += count

    def give_back(self, count: int) -> None:
        """Written by now, or not needed any more."""
        with self._lock:
            self._claimed -= count

    @contextmanager
    def claimed(self, count: int, there: int = 0) -> Iterator[None]:
        """`count` bytes set aside for the time being."""
        self.claim(count, there)
        try:
            yield
        finally:
            self.give_back(count)


def taken(folder: Path) -> int:
    """Bytes on the disk that all files below take, each once. Files that go away meanwhile are not counted."""
    total = 0
    linked: set[int] = set()  # files with several names
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(Path(entry.path))
                        else:
                            about = entry.stat(follow_symlinks=False)
                            if about.st_ino not in linked:
                                total += about.st_blocks * SECTOR
                            if about.st_nlink > 1:
                                linked.add(about.st_ino)
                    except FileNotFoundError:
                        continue
        except FileNotFoundError:
            continue
    return total


SECTOR = 512
"""The unit of `st_blocks`, whatever the file system."""
