"""Image parts by chunks: their lists, and parts that arrive in any order. `PartChunks` of `domain/image_files.py`.

Beside the parts of an image store lie `SHA256.chunks`, the list of a part that is here, and while one arrives
`SHA256.arriving`, a sparse file as long as the part, with `SHA256.wanted`, the list it is to fulfil. Which chunks are
here is found out by looking: a chunk is here when its bytes have its digest. So there is no account of it that could be
wrong after a crash, whatever the disk kept, and two who write the same chunk do no harm. The name is given at the end,
after the digest of the whole was read from the file itself.
"""

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from arable.domain import chunks as cut
from arable.domain.chunks import CHUNK, ZERO, ChunkList
from arable.domain.errors import CloudError, Conflict, Corrupt, NoRoom, NotFound, Unavailable
from arable.domain.image_files import PartSaid
from arable.domain.image_header import HEAD_BYTES, judge
from arable.domain.manifest import ImagePart
from arable.drivers.storage.durable import new_file, put_in_place, sync_folder
from arable.drivers.storage.intake import checked_name, names_in
from arable.drivers.storage.room import Room

LIST = ".chunks"
_ARRIVING, _WANTED = ".arriving", ".wanted"
_LISTS = 4
_ENTITLED = threading.Lock()  # to make a list: one at a time is enough, and two would make the same


class FolderChunks:
    """`PartChunks` over the folder of an image store; `room` as it has it."""

    def __init__(self, folder: Path, room: Room) -> None:
        self._folder = folder
        self._room = room
        self._lists: dict[str, ChunkList] = {}  # the last few: whoever fetches a part asks often

    def chunks(self, sha256: str) -> ChunkList:
        path = self._part(sha256)
        found = self._lists.get(sha256) or _read_list(path.with_name(sha256 + LIST), sha256)
        if found is None or found.size != path.stat().st_size:
            with _ENTITLED:  # perhaps somebody has made it meanwhile
                found = _read_list(path.with_name(sha256 + LIST), sha256)
                if found is None or found.size != path.stat().st_size:
                    found = self._made(path)
        if sha256 not in self._lists:
            self._lists = {**dict(list(self._lists.items())[1 - _LISTS :]), sha256: found}
        return found

    def read(self, sha256: str, numbers: Sequence[int]) -> list[bytes]:
        try:
            with self._part(sha256).open("rb") as file:
                return [os.pread(file.fileno(), CHUNK, number * CHUNK) for number in numbers]
        except FileNotFoundError as error:
            raise NotFound("no such part") from error

    def kept(self, sha256: str) -> ChunkList | None:
        return _read_list(self._folder / (checked_name(sha256) + _WANTED), sha256)

    def receive(self, said: PartSaid, chunks: ChunkList) -> "FolderArrival":
        return FolderArrival(self._folder, self._room, said, chunks, self)

    def forget(self, sha256: str) -> None:
        for suffix in (_ARRIVING, _WANTED):
            (self._folder / (checked_name(sha256) + suffix)).unlink(missing_ok=True)

    def others(self, but: str) -> Iterator[ChunkList]:
        """Lists of all parts that are here, but one; of those that have none it is made."""
        for sha256 in sorted(names_in(self._folder) - {but}):
            with suppress(NotFound, OSError):
                yield self.chunks(sha256)

    def _part(self, sha256: str) -> Path:
        path = self._folder / checked_name(sha256)
        if not path.is_file():
            raise NotFound("no such part")
        return path

    def _made(self, path: Path) -> ChunkList:
        try:
            with path.open("rb") as file:
                made = cut.list_of(path.name, os.fstat(file.fileno()).st_size, _pieces(file))
            _keep(path.with_name(path.name + LIST), made)
        except FileNotFoundError as error:
            raise NotFound("no such part") from error
        except OSError as error:
            raise _explained(error) from error
        return made


class FolderArrival:
    """`Arrival`."""

    def __init__(
        self, folder: Path, room: Room, said: PartSaid, chunks: ChunkList, store: FolderChunks
    ) -> None:
        assert said.sha256 == chunks.sha256, "the list is that part's"
        if said.bytes != chunks.size:
            raise Corrupt("the chunk list is of another length than the part")
        self._said = said
        self._chunks = chunks
        self._store = store
        self._room = room
        self._path = folder / (checked_name(chunks.sha256) + _ARRIVING)
        self._list = folder / (chunks.sha256 + _WANTED)
        self._lock = threading.Lock()
        self._claimed = 0
        self._file = self._opened()
        try:
            self._begin(store.kept(chunks.sha256))
        except BaseException:
            self.close()
            raise

    def missing(self) -> frozenset[int]:
        with self._lock:
            return frozenset(self._missing)

    def borrow(self) -> int:
        wanted: dict[bytes, list[int]] = {}
        for number in self.missing():
            wanted.setdefault(self._chunks.digest(number), []).append(number)
        borrowed = 0
        if not wanted:
            return 0
        for other in self._store.others(self._chunks.sha256):
            for number in range(len(other)):
                places = wanted.get(other.digest(number))
                if not places:
                    continue
                try:
                    (data,) = self._store.read(other.sha256, [number])
                    for place in places:
                        self.put(place, data)
                        borrowed += len(data)
                except (Corrupt, NotFound):  # it was damaged, or has just gone: the others have it
                    continue
                del wanted[other.digest(number)]
            if not wanted:
                break
        return borrowed

    def put(self, number: int, data: bytes) -> None:
        self._chunks.check(number, data)
        with _told():
            rest, at = memoryview(data), number * CHUNK
            while rest:
                count = os.pwrite(self._file, rest, at)
                rest, at = rest[count:], at + count
        with self._lock:
            if number in self._missing:
                self._missing.discard(number)
                self._give_back(len(data))

    def finish(self) -> ImagePart:
        said, chunks = self._said, self._chunks
        assert not self._missing, "all of it is here"
        try:
            with _told():
                found = self._digest()
            if found != chunks.sha256:
                raise Corrupt(
                    "the chunks that came make another part than the one that was asked for"
                )
            head = os.pread(self._file, HEAD_BYTES, 0)
            header = judge(head, chunks.size, said.role, said.format, said.limits)
        except CloudError as error:
            if not isinstance(error, NoRoom | Unavailable):
                self._store.forget(chunks.sha256)  # whatever of it was wrong: all of it comes anew
            raise
        with _told():
            os.fchmod(self._file, 0o444)
            os.utime(self._file)
            os.fsync(self._file)
            _keep(self._path.with_name(chunks.sha256 + LIST), chunks)
            with suppress(FileExistsError):
                os.link(self._path, self._path.with_name(chunks.sha256))
            sync_folder(self._path.parent)
            self._store.forget(chunks.sha256)
        return ImagePart(
            role=said.role,
            sha256=chunks.sha256,
            bytes=chunks.size,
            format=said.format,
            virtual_bytes=header.virtual_bytes,
        )

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._room.give_back(self._claimed)
        self._claimed = 0

    def _opened(self) -> int:
        """The file, ours alone: the lock goes with the process that has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with _told():
            file = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink == 0:  # it was given its name, or up, between the two calls
                raise BlockingIOError
        except BlockingIOError as error:
            os.close(file)
            raise Conflict("somebody else is fetching this part just now") from error
        return file

    def _begin(self, kept: ChunkList | None) -> None:
        chunks = self._chunks
        with _told():
            if kept is None or kept.hashes != chunks.hashes:
                _keep(self._list, chunks)
            if os.fstat(self._file).st_size != chunks.size:
                os.ftruncate(self._file, 0)
                os.ftruncate(self._file, chunks.size)
            self._missing = set(self._absent())
        needs = sum(chunks.length(number) for number in self._missing)
        self._room.claim(needs)
        self._claimed = needs

    def _absent(self) -> Iterator[int]:
        """Chunks whose bytes are not there: each is looked at, but where the file has a hole there is nothing to see."""
        chunks = self._chunks
        data = _data(self._file, chunks.size)
        begin, end = next(data, (chunks.size, chunks.size))
        for number in range(len(chunks)):
            first, last = number * CHUNK, number * CHUNK + chunks.length(number)
            while end <= first and begin < chunks.size:
                begin, end = next(data, (chunks.size, chunks.size))
            if last <= begin:  # a hole
                whole = chunks.length(number) == CHUNK
                nothing = ZERO if whole else hashlib.sha256(bytes(last - first)).digest()
                if chunks.digest(number) != nothing:
                    yield number
                continue
            found = hashlib.sha256(os.pread(self._file, last - first, first)).digest()
            if found != chunks.digest(number):
                yield number

    def _give_back(self, count: int) -> None:
        count = min(count, self._claimed)
        self._claimed -= count
        self._room.give_back(count)

    def _digest(self) -> str:
        """Of what is on the disk, not of what we think we wrote."""
        digest, at = hashlib.sha256(), 0
        while piece := os.pread(self._file, 16 * CHUNK, at):
            digest.update(piece)
            at += len(piece)
        return digest.hexdigest()


def _data(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the file has data: first byte, and the one behind the last."""
    at = 0
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        at = os.lseek(file, begin, os.SEEK_HOLE)
        yield begin, at


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(CHUNK):
        yield piece


def _read_list(path: Path, sha256: str) -> ChunkList | None:
    """None where there is none, or it is damaged: it is made again."""
    try:
        found = cut.decode(path.read_bytes())
    except (FileNotFoundError, Corrupt):
        return None
    return found if found.sha256 == sha256 else None


def _keep(path: Path, made: ChunkList) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        put_in_place(new_file(staged, made.encode()), path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _explained(error) from error


def _explained(error: OSError) -> CloudError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoRoom("the image store's disk is full", detail=str(error))
    return Unavailable("the image store can't be used now", detail=str(error))
