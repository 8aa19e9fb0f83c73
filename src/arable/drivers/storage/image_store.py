"""The management server's store of image parts: a folder, each file named by the SHA-256 of what is in it.

`ImageFiles` of `domain/image_files.py`, where its promises are. Several management servers may share the folder:
there is nothing in memory, and a file that has its name is complete.
"""

import os
import stat
from pathlib import Path

from arable.domain.errors import BadInput, NotFound, Unavailable
from arable.domain.image_files import PartSaid
from arable.domain.manifest import ImagePart
from arable.drivers.storage.intake import Intake, checked_name, names_in
from arable.drivers.storage.part_chunks import LIST, FolderChunks
from arable.drivers.storage.partial import FolderPartials
from arable.drivers.storage.room import Room

_CHUNK = 1 << 20


class ImageStore:
    """`ImageFiles` over a folder of its own."""

    def __init__(
        self,
        directory: Path,
        *,
        capacity_bytes: int | None = None,
        reserve_bytes: int | None = None,
    ) -> None:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._folder = directory.resolve()
        self._room = Room(self._folder, capacity_bytes, reserve_bytes)
        self.chunked = FolderChunks(self._folder, self._room)
        self.partial = FolderPartials(self._folder, self._room)

    def begin(self, said: PartSaid) -> Intake:
        return Intake(self._folder, said, self._room)

    def admit_path(self, path: Path, said: PartSaid) -> ImagePart:
        upload: Intake | None = None
        try:
            # Not blocking on a pipe, and no device: its content would end never, or be somebody's disk.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                about = os.fstat(file.fileno())
                if not stat.S_ISREG(about.st_mode):
                    raise BadInput(f"{path} is not a plain file", field="path")
                size = about.st_size if said.bytes is None else said.bytes
                upload = self.begin(_with_size(said, size))
                while chunk := file.read(_CHUNK):
                    upload.write(chunk)
                return upload.finish()
        except OSError as error:
            raise BadInput(f"{path} can't be read: {error.strerror}", field="path") from error
        finally:
            if upload:
                upload.abandon()

    def path(self, sha256: str) -> Path:
        try:
            path = self._folder / checked_name(sha256)
        except BadInput as error:
            raise NotFound("no such part") from error
        if not path.is_file():
            raise NotFound("no such part")
        return path

    def parts(self) -> frozenset[str]:
        try:
            return names_in(self._folder)
        except OSError as error:
            raise Unavailable("the image store can't be read", detail=str(error)) from error

    def disk(self) -> tuple[int, int]:
        """Of the disk that it is on: its bytes, and how many of them are used."""
        about = os.statvfs(self._folder)
        total = about.f_blocks * about.f_frsize
        return total, total - about.f_bavail * about.f_frsize

    def remove(self, sha256: str) -> None:
        path = self._folder / checked_name(sha256)
        path.unlink(missing_ok=True)
        path.with_name(path.name + LIST).unlink(missing_ok=True)


def _with_size(said: PartSaid, size: int) -> PartSaid:
    return PartSaid(
        role=said.role, format=said.format, sha256=said.sha256, bytes=size, limits=said.limits
    )
