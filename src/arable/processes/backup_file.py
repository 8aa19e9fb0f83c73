"""One file that holds a cloud: a tar of parts, then a list of them with their digests, then the digest of the list.

Written and read as a stream, so that it may be closed by a passphrase and costs no memory. It appears under its name
when it is complete and on the disk, for its owner alone: it holds the authority's key.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from arable.domain.errors import BadInput, Conflict, Corrupt, NotFound
from arable.runtime.enclosed import MAGIC, Enclosing, Opening, is_enclosed
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

T = TypeVar("T")

FORM = 1
LIST = "manifest.json"
DIGEST = "manifest.sha256"

_BUFFER = 1 << 20
_CUT_OFF = "this is no backup, or it was cut off"


class Part(msgspec.Struct, frozen=True):
    """A file within the file."""

    name: str
    bytes: int
    sha256: str


class CopiedTable(msgspec.Struct, frozen=True):
    """What the lines of one table's parts hold, and how many there are."""

    name: str
    columns: tuple[str, ...]
    flags: tuple[str, ...]
    rows: int


class Image(msgspec.Struct, frozen=True):
    """An image's part that the store refers to."""

    sha256: str
    included: bool


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is: the list at its end."""

    form: int = FORM
    version: str  # of Arable
    revision: str  # of the schema
    taken_at: datetime
    store: str  # sqlite | postgresql
    incarnation: str
    fingerprint: str  # of the authority
    tables: list[CopiedTable]
    numbers: dict[str, int]
    images: list[Image]
    parts: list[Part]

    def rows(self, table: str) -> int:
        """How many there are; none of a table that was unknown then."""
        return next((each.rows for each in self.tables if each.name == table), 0)


class Writing:
    """Takes parts, in the order in which they will be read."""

    def __init__(self, tar: tarfile.TarFile, at: datetime) -> None:
        self._tar = tar
        self._at = int(at.timestamp())
        self.parts: list[Part] = []

    def add(self, name: str, data: bytes) -> None:
        """One part."""
        self._put(name, len(data), io.BytesIO(data))
        self.parts.append(Part(name, len(data), hashlib.sha256(data).hexdigest()))

    def add_file(self, name: str, path: Path) -> None:
        """One part, from a file that does not change."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            hashing = _Hashing(file)
            self._put(name, size, hashing)
        self.parts.append(Part(name, size, hashing.sha256.hexdigest()))

    def finish(self, contents: Contents) -> None:
        """The list, which holds all parts by now."""
        text = msgspec.json.format(msgspec.json.encode(contents), indent=1)
        self._put(LIST, len(text), io.BytesIO(text))
        digest = hashlib.sha256(text).hexdigest().encode()
        self._put(DIGEST, len(digest), io.BytesIO(digest))

    def _put(self, name: str, size: int, file: Any) -> None:
        about = tarfile.TarInfo(name)
        about.size, about.mode, about.mtime = size, 0o600, self._at
        self._tar.addfile(about, file)


class _Hashing:
    """A file that is read once, and hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


@contextmanager
def writing(
    path: Path, at: datetime, entropy: Entropy, passphrase: Secret | None
) -> Iterator[Writing]:
    """The file is there after the block, complete; or it is as it was before."""
    path = path.absolute()
    made = path.with_name(f".{path.name}.{entropy.letters(12)}")
    try:
        opened = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BadInput(f"{path} can't be written: {error.strerror}") from error
    try:
        with os.fdopen(opened, "wb", buffering=_BUFFER) as file:
            enclosing = Enclosing(file, passphrase, entropy) if passphrase else None
            with tarfile.open(mode="w|", fileobj=enclosing or file, bufsize=_BUFFER) as tar:  # type: ignore[call-overload]
                yield Writing(tar, at)
            if enclosing is not None:
                enclosing.close()
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
        _sync(path.parent)
    finally:
        made.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class Reading:
    """A backup that is there. `verify` reads all of it; `parts` reads it again."""

    def __init__(self, file: BinaryIO, passphrase: Secret | None) -> None:
        self._file = file
        self._passphrase = passphrase

    def verify(self) -> Contents:
        """What it holds, if every byte is what was written. Raises `Corrupt`, and `Forbidden` for another passphrase."""
        found: list[Part] = []
        texts = {LIST: b"", DIGEST: b""}
        for name, file in self.parts():
            if name in texts:
                texts[name] = file.read()
                continue
            sha256, size = hashlib.sha256(), 0
            while data := file.read(_BUFFER):
                sha256.update(data)
                size += len(data)
            found.append(Part(name, size, sha256.hexdigest()))
        if not all(texts.values()):
            raise Corrupt("this is no backup, or it was cut off: the list of its parts is missing")
        if hashlib.sha256(texts[LIST]).hexdigest().encode() != texts[DIGEST]:
            raise Corrupt("the list of parts was changed")
        form = _decoded(texts[LIST], _Form).form
        if form != FORM:
            raise Conflict(f"this is a backup of form {form}, and this version of Arable knows form {FORM}")  # fmt: skip
        contents = _decoded(texts[LIST], Contents)
        for wanted, part in zip(contents.parts, found, strict=False):
            if wanted != part:
                raise Corrupt(f"{wanted.name} is not what was written")
        if len(found) != len(contents.parts):
            raise Corrupt("there are not as many parts as were written")
        return contents

    def parts(self) -> Iterator[tuple[str, "_PartFile"]]:
        """Each part's name and a file to read it from before the next one is asked for."""
        self._file.seek(0)
        plain: Any = self._file
        if self._passphrase is not None:
            plain = Opening(self._file, self._passphrase)
        try:
            with tarfile.open(mode="r|", fileobj=plain, bufsize=_BUFFER) as tar:
                for about in tar:
                    file = tar.extractfile(about) if about.isfile() else None
                    if file is None:
                        raise Corrupt(f"{about.name} is no plain file")
                    yield about.name, _PartFile(file)
        except (tarfile.TarError, EOFError) as error:
            raise Corrupt(_CUT_OFF, detail=str(error)) from error


class _PartFile:
    """A part, to be read once; what is wrong with the file around it is said in our words."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._file.read(size))
        except (tarfile.TarError, EOFError) as error:
            raise Corrupt(_CUT_OFF, detail=str(error)) from error


class _Form(msgspec.Struct):
    form: int


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """The file, open; whether it asks for a passphrase is seen by `is_closed`."""
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            yield file
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except (PermissionError, IsADirectoryError) as error:
        raise BadInput(f"{path} can't be read: {error.strerror}") from error


def is_closed(path: Path) -> bool:
    """Whether a passphrase is needed."""
    with reading(path) as file:
        return is_enclosed(file.read(len(MAGIC)))


def _decoded(text: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise Corrupt("the list of parts is not understood", detail=str(error)) from error
