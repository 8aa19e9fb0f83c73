"""Bytes on their way into a folder of verified files, under the name of their SHA-256.

Until everything is known to be right the file has no name at all (`O_TMPFILE`): whoever dies in between, the
kernel forgets it, and there is nothing to clean up. Right means: as many bytes as were said, with the digest that
was said, behind a header that `domain/image_header.py` lets pass. The header is judged as soon as it has arrived,
so that a terabyte of something else is refused after its first 64 KiB.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from arable.domain.errors import BadInput, Conflict, NoRoom, TooLarge, Unavailable
from arable.domain.image_files import PartSaid
from arable.domain.image_header import HEAD_BYTES, SECTOR, judge
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.units import MIB
from arable.drivers.storage.room import Room

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = 64 * MIB  # room is claimed in pieces when nobody said how long it gets
_READ = 1 * MIB
_ENDLESS = 1 << 62


def checked_name(sha256: str) -> str:
    """`sha256` if it is one, so that it can be part of a path. Raises `BadInput`."""
    if not _SHA256.fullmatch(sha256):
        raise BadInput("not a SHA-256 (64 small hexadecimal digits)", field="sha256")
    return sha256


def names_in(folder: Path) -> frozenset[str]:
    """The names of parts in `folder`; other files there are none of ours."""
    return frozenset(path.name for path in folder.iterdir() if _SHA256.fullmatch(path.name))


class Intake:
    """One part coming in. `Upload` of `domain/image_files.py`."""

    def __init__(self, folder: Path, said: PartSaid, room: Room) -> None:
        if said.sha256 is not None:
            checked_name(said.sha256)
        self._most = most_bytes(said)
        if said.bytes is not None and said.bytes < 0:
            raise BadInput("nothing is that short", field="bytes")
        if said.bytes is not None and said.bytes > self._most:
            raise TooLarge(f"the file is larger than a {said.role} may be", field="bytes")
        self._folder = folder
        self._said = said
        self._room = room
        self._digest = hashlib.sha256()
        self._head = b""
        self._judged = False
        self._count = 0
        self._claimed = 0
        self._file = -1
        self._claim(said.bytes or 0)
        try:
            self._file = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.abandon()
            raise explained(error, folder) from error

    def write(self, chunk: bytes) -> None:
        """The next bytes. After any refusal there is nothing left of the part."""
        if self._file < 0:
            raise Conflict("this upload has ended")
        with self._or_nothing():
            self._count += len(chunk)
            if self._said.bytes is not None and self._count > self._said.bytes:
                raise BadInput(
                    f"more than the {self._said.bytes} bytes that were said", field="bytes"
                )
            if self._count > self._most:
                raise TooLarge(f"the file is larger than a {self._said.role} may be", field="bytes")
            self._make_room()
            self._digest.update(chunk)
            if len(self._head) < HEAD_BYTES:
                self._head += chunk[: HEAD_BYTES - len(self._head)]
            if len(self._head) == HEAD_BYTES and not self._judged:
                self._judge_early()
                self._judged = True
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(self._file, rest) :]

    def finish(self) -> ImagePart:
        """The bytes are complete: verify them, and give them their name."""
        if self._file < 0:
            raise Conflict("this upload has ended")
        with self._or_nothing():
            said = self._said
            if said.bytes is not None and self._count != said.bytes:
                raise BadInput(
                    f"cut off: {said.bytes} bytes were said, {self._count} came", field="bytes"
                )
            name = self._digest.hexdigest()
            if said.sha256 is not None and name != said.sha256:
                raise BadInput(f"the bytes are not what was said: SHA-256 {name}", field="sha256")
            virtual = self._judge(self._count)
            os.fchmod(self._file, 0o444)
            os.fsync(self._file)
            _name(self._file, self._folder, name)
            part = ImagePart(
                role=said.role,
                sha256=name,
                bytes=self._count,
                format=said.format,
                virtual_bytes=virtual,
            )
        self.abandon()
        return part

    def abandon(self) -> None:
        """Let go of the file: if it got no name, it is gone."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._room.give_back(self._claimed)
        self._claimed = 0

    def _judge(self, size: int) -> int:
        header = judge(self._head, size, self._said.role, self._said.format, self._said.limits)
        return header.virtual_bytes

    def _judge_early(self) -> None:
        """As far as it can be judged before the length is known, unless it was said."""
        if self._said.bytes is not None:
            self._judge(self._said.bytes)
        elif self._said.format is PartFormat.QCOW2:
            limits = replace(self._said.limits, file_bytes=_ENDLESS)
            judge(self._head, _ENDLESS, self._said.role, self._said.format, limits)
        else:
            self._judge(HEAD_BYTES)

    def _make_room(self) -> None:
        more = self._count - self._claimed
        if more <= 0:
            return
        try:
            self._claim(max(_PIECE, more))
        except NoRoom:
            self._claim(more)

    def _claim(self, count: int) -> None:
        self._room.claim(count)
        self._claimed += count

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abandon()
            raise explained(error, self._folder) from error
        except BaseException:
            self.abandon()
            raise


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ):
            digest.update(chunk)
    return digest.hexdigest()


def head_of(path: Path) -> tuple[bytes, int]:
    """What `judge` wants: the first bytes, and the size."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size


def _name(file: int, folder: Path, name: str) -> None:
    """Whoever is second with the same bytes finds them there, and that is as good."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            # With a folder to link into, Python follows the link in /proc to the nameless file.
            os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=opened, follow_symlinks=True)
        except FileExistsError:
            with suppress(FileNotFoundError):  # what was just brought is not swept away as old
                os.utime(name, dir_fd=opened)
        os.fsync(opened)
    finally:
        os.close(opened)


def most_bytes(said: PartSaid) -> int:
    """How long such a part may be."""
    if said.role is not PartRole.DISK:
        return said.limits.blob_bytes
    if said.format is PartFormat.RAW:
        most = min(said.limits.file_bytes, said.limits.virtual_bytes)
        return most // SECTOR * SECTOR
    return said.limits.file_bytes


def explained(error: OSError, folder: Path) -> Exception:
    """As what a caller hears of it."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return NoRoom("the disk is full", detail=str(error))
        case errno.EOPNOTSUPP | errno.EISDIR:
            return Unavailable(
                f"the file system of {folder} can't hold nameless files; use ext4, xfs, btrfs or tmpfs"
            )
        case _:
            return Unavailable("the image can't be stored now", detail=str(error))
