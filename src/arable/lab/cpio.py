"""Writes the archive that a Linux kernel unpacks as its first root (cpio, format "newc").

Done here and not by `cpio` because then it needs no root (device nodes, owners) and the same content gives the
same bytes: entries are sorted, times and inode numbers don't come from a disk.
"""

import stat
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from arable.domain.errors import BadInput

_TRAILER = "TRAILER!!!"
_WORD = 1 << 32


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


@dataclass
class Archive:
    """Files by their path from the root. Parent directories appear by themselves; everything belongs to root."""

    _entries: dict[str, _Entry] = field(default_factory=dict)

    def directory(self, path: str, permissions: int = 0o755) -> None:
        """A directory; said again, the last permissions count."""
        self._add(path, _Entry(stat.S_IFDIR | permissions))

    def file(self, path: str, data: bytes, permissions: int = 0o644) -> None:
        """A regular file."""
        if len(data) >= _WORD:
            raise BadInput(f"{path} is too large for a cpio archive")
        self._add(path, _Entry(stat.S_IFREG | permissions, data))

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._add(path, _Entry(stat.S_IFLNK | 0o777, target.encode()))

    def character_device(self, path: str, major: int, minor: int, permissions: int = 0o600) -> None:
        """A device node, which nobody but root could make on a disk."""
        self._add(path, _Entry(stat.S_IFCHR | permissions, device=(major, minor)))

    def paths(self) -> list[str]:
        """Everything in the archive, parents before children."""
        return sorted(self._entries)

    def pack(self) -> bytes:
        """The archive's bytes: a function of what was added alone, not of order or time."""
        made = bytearray()
        for number, path in enumerate(self.paths(), start=1):
            made += _record(number, path, self._entries[path])
        made += _record(0, _TRAILER, _Entry(0))
        return bytes(made.ljust(-(-len(made) // 512) * 512, b"\0"))

    def _add(self, path: str, entry: _Entry) -> None:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
            raise BadInput(f"not a path inside an archive: {path!r}")
        for parent in reversed(pure.parents[:-1]):
            there = self._entries.setdefault(str(parent), _Entry(stat.S_IFDIR | 0o755))
            if not stat.S_ISDIR(there.mode):
                raise BadInput(f"{parent} is no directory, so {path} has no place")
        old = self._entries.get(str(pure))
        if old is not None and stat.S_IFMT(old.mode) != stat.S_IFMT(entry.mode):
            raise BadInput(f"{path} is in the archive as something else already")
        self._entries[str(pure)] = entry


def _record(inode: int, path: str, entry: _Entry) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        inode,
        entry.mode,
        0,  # owner
        0,  # group
        links,
        0,  # time of change
        len(entry.data),
        0,  # device it is on
        0,
        *entry.device,
        len(name),
        0,  # checksum: not used by this format
    )
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // 4) * 4, b"\0")
