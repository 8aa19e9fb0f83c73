"""What the management server's store of image parts promises. Services are handed one; they know no driver.

A part is named by the SHA-256 of its bytes, so the same bytes are kept once, whoever brings them, and a name
never changes its meaning. What is not finished has no name: a part is there completely, judged
(`image_header.py`) and verified, or not at all. Calls block; asynchronous callers give them a thread.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from arable.domain.image_header import Limits
from arable.domain.manifest import ImagePart, PartFormat, PartRole


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSaid:
    """What whoever brings a part says of it. `sha256` and `bytes`, where given, must turn out true."""

    role: PartRole
    format: PartFormat
    sha256: str | None = None
    bytes: int | None = None
    limits: Limits = field(default_factory=Limits)


class Upload(Protocol):
    """A part on its way in. Ends with `finish` or `abandon`; after any refusal there is nothing left of it."""

    def write(self, chunk: bytes) -> None:
        """The next bytes. Raises `BadInput` as soon as the header is refused, `TooLarge`, or `NoRoom`."""

    def finish(self) -> ImagePart:
        """The bytes are complete. Raises `BadInput` when they are not what was said."""

    def abandon(self) -> None:
        """Forget it. After the end, this does nothing."""


class ImageFiles(Protocol):
    """Five verbs."""

    def begin(self, said: PartSaid) -> Upload:
        """Take a part in. Raises `BadInput` for what is impossible from the start, `NoRoom` when it can't fit."""

    def admit_path(self, path: Path, said: PartSaid) -> ImagePart:
        """Copy in a file of this machine: for operators alone, never for a path that a customer gave."""

    def path(self, sha256: str) -> Path:
        """The part's file, to be read. Raises `NotFound`."""

    def parts(self) -> frozenset[str]:
        """Every part that is here."""

    def remove(self, sha256: str) -> None:
        """No longer here; already gone is fine. Those who are reading it may read on."""
