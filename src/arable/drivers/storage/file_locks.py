"""Locks on bytes of a file, which belong to who has it open and end with that: QEMU's own, and those of a pool's keeper.

QEMU locks bytes of each image file that it opens (`block/file-posix.c`): with one lock it says what it does to the file,
with another one what it lets nobody else do. On a file system of several hosts a lock of one host is seen by all, if it
is mounted so (`pool.py` of pools of files tells how that is found out).
"""

import fcntl
import os
import struct
from pathlib import Path

from arable.drivers.storage.protocol import InUse

_FLOCK = struct.Struct("hhqqi4x")
_GET, _SET = (
    36,
    37,
)  # of locks that belong to an open file, and not to a process (F_OFD_GETLK, F_OFD_SETLK)
_DOES, _FORBIDS = 100, 200  # where QEMU's two kinds of locks begin
_WRITES = (1, 3)  # what they are about: to write, and to change the size


def forbid_writers(opened: int, name: str) -> None:
    """No QEMU opens it to write from now on. Raises `InUse` when one has."""
    for what in _WRITES:
        fcntl.fcntl(opened, _SET, _lock(fcntl.F_RDLCK, _FORBIDS + what))
    if any(_is_locked(opened, _DOES + what) for what in _WRITES):
        raise InUse(f"{name} is in use")


def in_use(path: Path) -> bool:
    """Whether anybody writes to it, or has it open and lets nobody write. Raises `OSError`."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return any(
            _is_locked(opened, kind + what) for kind in (_DOES, _FORBIDS) for what in _WRITES
        )
    finally:
        os.close(opened)


def hold(path: Path) -> int:
    """The file, made where it is not, open and locked for us alone. Raises `BlockingIOError` and other `OSError`s."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.fcntl(opened, _SET, _lock(fcntl.F_WRLCK, 0))
    except OSError:
        os.close(opened)
        raise
    return opened


def is_held(path: Path) -> bool:
    """Whether somebody, perhaps on another host, has it by `hold`. Raises `OSError`."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return _is_locked(opened, 0)
    finally:
        os.close(opened)


def _is_locked(opened: int, at: int) -> bool:
    """By another one than who has this file open."""
    found = fcntl.fcntl(opened, _GET, _lock(fcntl.F_WRLCK, at))
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def _lock(kind: int, at: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, at, 1, 0)
