"""Parts that come in order, over many connections: `PartialFiles` of `domain/image_files.py`.

What came of an upload lies beside the parts as `ID.partial`, and its length is the offset: there is no account of it that could
be wrong after a crash, and every server that shares the folder goes on with it. A length is told only of what was brought
to the disk before. A lock of the file system keeps two from writing one file; it goes with the process that has it.

The digest of the whole is reckoned as the bytes come. Whoever goes on in another process reads what was there before at
the end. The part's name is a second link: until the store knows of it, what came is there under either name, so that the
last step can be done again.
"""

import fcntl
import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arable.domain.errors import BadInput, InUse, NoRoom, TooLarge, WrongOffset
from arable.domain.image_files import PartSaid
from arable.domain.image_header import HEAD_BYTES, judge
from arable.domain.image_upload import Came
from arable.domain.manifest import ImagePart
from arable.domain.units import MIB
from arable.drivers.storage.durable import sync_folder
from arable.drivers.storage.intake import checked_name, explained, most_bytes
from arable.drivers.storage.room import Room

_SUFFIX = ".partial"
_NAME = re.compile(r"(upload-[0-9a-z]{1,32})\.partial")
_STRIDE = 64 * MIB  # room is claimed, and bytes are brought to the disk, so many at a time
_READ = 1 * MIB
_REMEMBERED = 64


@dataclass(slots=True)
class _Reckoned:
    """The digest of the first bytes of one file."""

    inode: int
    offset: int
    digest: Any


class FolderPartials:
    """`PartialFiles` over the folder of an image store; `room` as it has it."""

    def __init__(self, folder: Path, room: Room) -> None:
        self._folder = folder
        self._room = room
        self._reckoned: OrderedDict[str, _Reckoned] = OrderedDict()
        self._lock = threading.Lock()

    def length(self, id_: str) -> int | None:
        try:
            with self._or_told(), self._path(id_).open("rb") as file:
                os.fdatasync(file.fileno())
                return os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return None

    def open(self, id_: str, said: PartSaid, offset: int) -> "FolderPartial":
        return FolderPartial(self._folder, self._path(id_), said, offset, self._room, self)

    def forget(self, id_: str) -> None:
        with self._lock:
            self._reckoned.pop(id_, None)
        self._path(id_).unlink(missing_ok=True)

    def ids(self) -> dict[str, float]:
        found: dict[str, float] = {}
        with self._or_told(), os.scandir(self._folder) as entries:
            for entry in entries:
                if named := _NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        found[named[1]] = entry.stat(follow_symlinks=False).st_mtime
        return found

    def check_room(self, count: int) -> None:
        with self._room.claimed(count):
            pass

    def reckoned(self, id_: str, inode: int, offset: int) -> _Reckoned:
        """What is known of the digest of the file, which is so long; nobody else gets it until it is given back."""
        with self._lock:
            found = self._reckoned.pop(id_, None)
        if found is not None and found.inode == inode and found.offset <= offset:
            return found
        return _Reckoned(inode, 0, hashlib.sha256())

    def remember(self, id_: str, reckoned: _Reckoned) -> None:
        """For the next connection."""
        with self._lock:
            self._reckoned[id_] = reckoned
            while len(self._reckoned) > _REMEMBERED:
                self._reckoned.popitem(last=False)

    def _path(self, id_: str) -> Path:
        name = f"{id_}{_SUFFIX}"
        if not _NAME.fullmatch(name):
            raise BadInput("this is no id of an upload", field="upload")
        return self._folder / name

    @contextmanager
    def _or_told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise explained(error, self._folder) from error


class FolderPartial:
    """`Partial`."""

    def __init__(
        self,
        folder: Path,
        path: Path,
        said: PartSaid,
        offset: int,
        room: Room,
        store: FolderPartials,
    ) -> None:
        assert said.sha256 is not None, "what is to come is known beforehand"
        assert said.bytes is not None, "and how long it is"
        self._sha256, self._bytes = checked_name(said.sha256), said.bytes
        if self._bytes > most_bytes(said):
            raise TooLarge(f"the file is larger than a {said.role} may be", field="bytes")
        self._said = said
        self._folder = folder
        self._path = path
        self._id = path.name.removesuffix(_SUFFIX)
        self._room = room
        self._store = store
        self._claimed = self._unsynced = 0
        self._file = -1
        with self._told():
            self._file = self._opened()
        about = os.fstat(self._file)
        self._count = about.st_size
        if self._count != offset:
            self.close()
            raise WrongOffset(
                f"{self._count} bytes are here: go on there", why={"offset": self._count}
            )
        self._reckoned = store.reckoned(self._id, about.st_ino, self._count)

    def write(self, piece: bytes, /) -> None:
        if self._file < 0:
            raise InUse("this connection of the upload has ended")
        if self._count + len(piece) > self._bytes:
            raise BadInput(f"more than the {self._bytes} bytes that were said", field="bytes")
        self._make_room(len(piece))
        before = self._count
        with self._told():
            try:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError:
                os.ftruncate(self._file, before)
                raise
        self._count += len(piece)
        if self._reckoned.offset == before:
            self._reckoned.digest.update(piece)
            self._reckoned.offset = self._count
        if before < min(HEAD_BYTES, self._bytes) <= self._count:
            with self._anew_if_refused():
                self._judge()
        self._unsynced += len(piece)
        if self._unsynced >= _STRIDE:
            self._sync()

    def done(self) -> Came:
        if self._file < 0:
            raise InUse("this connection of the upload has ended")
        self._sync()
        if self._count < self._bytes:
            came = Came(self._count)
        else:
            with self._anew_if_refused():
                came = Came(self._count, self._whole())
        self.close()
        return came

    def close(self) -> None:
        if self._file < 0:
            return
        try:
            with suppress(OSError):
                os.fdatasync(self._file)
            if hasattr(self, "_reckoned"):
                self._store.remember(self._id, self._reckoned)
        finally:
            os.close(self._file)
            self._file = -1
            self._room.give_back(self._claimed)
            self._claimed = 0

    def _opened(self) -> int:
        """The file, ours alone, whose name still is its own. One that is a part already can't be written any more."""
        flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_APPEND
        new = not self._path.exists()
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | flags, 0o600)
        except PermissionError:
            file = os.open(self._path, os.O_RDONLY | flags)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._path.stat().st_ino != os.fstat(file).st_ino:
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError) as error:
            os.close(file)
            raise InUse(
                "another connection brings this file just now", why={"retry_after": 2}
            ) from error
        if new:
            sync_folder(self._folder)
        return file

    def _whole(self) -> ImagePart:
        """All of it is here: verify it, and give it its name beside the one that it has."""
        reckoned = self._reckoned
        while piece := os.pread(self._file, _READ, reckoned.offset):
            reckoned.digest.update(piece)
            reckoned.offset += len(piece)
        found = reckoned.digest.hexdigest()
        if found != self._sha256:
            raise BadInput(f"the bytes are not what was said: SHA-256 {found}", field="sha256")
        virtual = self._judge()
        with self._told():
            os.fchmod(self._file, 0o444)
            os.fsync(self._file)
            named = self._folder / self._sha256
            try:
                os.link(self._path, named)
            except FileExistsError:
                with suppress(FileNotFoundError):  # what was just brought is not swept away as old
                    os.utime(named)
            sync_folder(self._folder)
        return ImagePart(
            role=self._said.role,
            sha256=self._sha256,
            bytes=self._bytes,
            format=self._said.format,
            virtual_bytes=virtual,
        )

    def _judge(self) -> int:
        head = os.pread(self._file, HEAD_BYTES, 0)
        said = self._said
        return judge(head, self._bytes, said.role, said.format, said.limits).virtual_bytes

    def _make_room(self, count: int) -> None:
        if count <= self._claimed:
            self._claimed -= count
            self._room.give_back(count)
            return
        self._room.give_back(self._claimed)
        self._claimed = 0
        ahead = min(max(_STRIDE, count), self._bytes - self._count)
        try:
            self._room.claim(ahead)
        except NoRoom:
            ahead = count
            self._room.claim(ahead)
        self._claimed = ahead - count
        self._room.give_back(count)

    def _sync(self) -> None:
        with self._told():
            os.fdatasync(self._file)
        self._unsynced = 0

    @contextmanager
    def _anew_if_refused(self) -> Iterator[None]:
        """What came is not the file: nothing of it is kept, and it can be brought anew from its beginning.

        By another file, since this one may have the name of a part already.
        """
        try:
            yield
        except BadInput:
            empty = self._path.with_name(f".{self._path.name}.{os.getpid()}.{self._file}")
            with self._told():
                os.close(os.open(empty, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
                empty.replace(self._path)
                sync_folder(self._folder)
            self._reckoned = replace(self._reckoned, offset=self._bytes + 1)  # of no use to anybody
            self.close()
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explained(error, self._folder) from error
