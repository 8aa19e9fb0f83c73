"""The image parts that were fetched to this host and verified here (rule 7).

Beside each verified file lies a record of what it looked like then (size, time of change, inode). A file that
still looks like its record is trusted, which makes the start of an agent cheap; one without a record, or that
looks otherwise, counts as not there until it has been read through again. `verify` reads one through on demand.
"""

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from arable.domain.errors import BadInput, Corrupt, NotFound
from arable.domain.image_files import PartSaid
from arable.domain.image_header import Limits, judge
from arable.domain.manifest import ImagePart
from arable.drivers.storage.durable import destroy, put_in_place, sync_folder, write_whole
from arable.drivers.storage.intake import Intake, checked_name, digest_of, head_of, names_in
from arable.drivers.storage.protocol import Fetch, Received, Receives
from arable.drivers.storage.room import Room
from arable.drivers.storage.turns import Turns

# How large is too large was decided when the part was taken into the cloud; here only its room counts.
_ANY_SIZE = Limits(file_bytes=1 << 62, virtual_bytes=1 << 62, blob_bytes=1 << 62)


class VerifiedImages:
    """A folder of files named by their SHA-256, and a folder of records."""

    def __init__(self, folder: Path, records: Path, staging: Path, room: Room) -> None:
        self._folder = folder
        self._records = records
        self._staging = staging
        self._room = room
        self._turns = Turns()

    def names(self) -> frozenset[str]:
        """Those that are here and still look as when they were verified."""
        return frozenset(name for name in names_in(self._folder) if self._is_trusted(name))

    def strays(self) -> list[Path]:
        """What lies here without having been verified."""
        trusted = self.names()
        return sorted(path for path in self._folder.iterdir() if path.name not in trusted)

    def path(self, part: ImagePart) -> Path:
        """The file of an admitted part. Raises `NotFound`."""
        if not self._is_trusted(checked_name(part.sha256)):
            raise NotFound(f"image part {part.sha256[:12]} is not on this host")
        return self._folder / part.sha256

    def admit(self, part: ImagePart, fetch: Fetch) -> Path:
        """The part's file, verified; fetched first if need be. See `Storage.admit`."""
        with _bad_is_corrupt(), self._turns.of(checked_name(part.sha256)):
            path = self._folder / part.sha256
            if not self._is_trusted(part.sha256) and not self._trust_again(part.sha256):
                path.unlink(missing_ok=True)
                self._fetch(part, fetch)
                self._record(part.sha256)
            _check_header(path, part)
        return path

    def used(self, sha256: str, at: float) -> None:
        """Note that it was used then (seconds since the epoch); nothing when it is not here."""
        with suppress(FileNotFoundError):
            os.utime(self._record_of(sha256), (at, at))

    def about(self) -> Mapping[str, tuple[int, float]]:
        """Of each that is here how long it is, and when it was used last."""
        found = {}
        for name in self.names():
            with suppress(FileNotFoundError):
                length = (self._folder / name).stat().st_size
                found[name] = (length, self._record_of(name).stat().st_mtime)
        return found

    def evict(self, sha256: str, erasing: Path) -> None:
        """It is not here any more. `erasing`: a folder, what lies there is erased to its end also after a crash."""
        with self._turns.of(checked_name(sha256)):
            path, doomed = self._folder / sha256, erasing / sha256
            if path.exists():
                path.replace(doomed)
                sync_folder(self._folder)
            self._record_of(sha256).unlink(missing_ok=True)
            if doomed.exists():
                doomed.chmod(0o600)
            destroy(doomed)

    def verify(self, sha256: str) -> None:
        """Read the file through. Raises `Corrupt` when it is not what its name says; it then counts as not here."""
        with self._turns.of(checked_name(sha256)):
            if not (self._folder / sha256).is_file():
                raise NotFound(f"image part {sha256[:12]} is not on this host")
            if not self._trust_again(sha256):
                raise Corrupt(f"image part {sha256[:12]} is damaged on this host")

    def _fetch(self, part: ImagePart, fetch: Fetch) -> None:
        received = fetch.received(part.sha256) if isinstance(fetch, Receives) else None
        if received and received.device != self._folder.stat().st_dev:
            received = None
        if received and received.whole:
            if self._adopt(part, received):
                return
            received = None
        with self._room.claimed(part.bytes, there=received.bytes if received else 0):
            pieces = fetch(part.sha256)  # where there is no room, it is not even fetched
        self._copy(part, pieces)

    def _adopt(self, part: ImagePart, received: Received) -> bool:
        """It is on this file system, and nobody else has it: there need not be room for it twice.

        False, and it stays, where that file system is mounted twice: nothing moves from one place to the other.
        """
        path, stays = received.path, False
        with self._room.claimed(part.bytes, there=received.bytes):
            try:
                if digest_of(path) != part.sha256:
                    raise BadInput("the bytes are not what was said", field="sha256")
                _check_header(path, part)
                path.chmod(0o444)
                put_in_place(path, self._folder / part.sha256)
            except OSError as error:
                stays = error.errno == errno.EXDEV
                if not stays:
                    raise
            finally:
                if not stays:
                    path.unlink(missing_ok=True)
        return not stays

    def _copy(self, part: ImagePart, pieces: Iterable[bytes]) -> None:
        said = PartSaid(
            role=part.role,
            format=part.format,
            sha256=part.sha256,
            bytes=part.bytes,
            limits=_ANY_SIZE,
        )
        intake = Intake(self._folder, said, self._room)
        try:
            for chunk in pieces:
                intake.write(chunk)
            got = intake.finish()
        finally:
            intake.abandon()
        if got != part:
            # The name is given by now, but without a record it counts for nothing.
            (self._folder / part.sha256).unlink(missing_ok=True)
            raise _not_as_said(part, got.virtual_bytes)

    def _trust_again(self, sha256: str) -> bool:
        """Whether the file is what its name says after all; the record follows the truth."""
        path = self._folder / sha256
        self._record_of(sha256).unlink(missing_ok=True)
        if not path.is_file() or digest_of(path) != sha256:
            return False
        self._record(sha256)
        return True

    def _is_trusted(self, sha256: str) -> bool:
        try:
            record = json.loads(self._record_of(sha256).read_text())
            return bool(record == _looks(self._folder / sha256))
        except (FileNotFoundError, ValueError):
            return False

    def _record(self, sha256: str) -> None:
        looks = json.dumps(_looks(self._folder / sha256)).encode()
        write_whole(self._record_of(sha256), looks, self._staging)

    def _record_of(self, sha256: str) -> Path:
        return self._records / sha256


def _looks(path: Path) -> dict[str, int]:
    about = path.stat()
    return {"bytes": about.st_size, "mtime_ns": about.st_mtime_ns, "inode": about.st_ino}


def _check_header(path: Path, part: ImagePart) -> None:
    """Another manifest may say other things about the same bytes: each is judged by its own words."""
    head, size = head_of(path)
    found = judge(head, size, part.role, part.format, _ANY_SIZE)
    if size != part.bytes or found.virtual_bytes != part.virtual_bytes:
        raise _not_as_said(part, found.virtual_bytes)


def _not_as_said(part: ImagePart, virtual_bytes: int) -> Corrupt:
    return Corrupt(
        f"image part {part.sha256[:12]} is a disk of {virtual_bytes} bytes, not {part.virtual_bytes}"
    )


@contextmanager
def _bad_is_corrupt() -> Iterator[None]:
    """What is bad input where it comes in is corruption where it was said to be good."""
    try:
        yield
    except BadInput as error:
        raise Corrupt(error.public, field=error.field, detail=error.detail) from error
