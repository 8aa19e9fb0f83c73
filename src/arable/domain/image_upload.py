"""A file of an image on its way in, over as many connections as it takes. What came of it is in `PartialFiles`."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from arable.domain.ids import AccountId, ImageId, SegmentId, UploadId
from arable.domain.manifest import ImagePart, PartFormat, PartRole

MOST = 100
"""Uploads of one account that are not complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUpload:
    """As it is kept. All that is said of the file is said before its first byte."""

    id: UploadId
    account: AccountId
    image: ImageId | None  # a version is made of it; None: it becomes a part of the account
    role: PartRole
    format: PartFormat
    sha256: str
    bytes: int
    received: int = 0  # at least so many, as of the last connection that ended in order
    server: SegmentId | None = None  # that took them
    complete: bool = False
    version: int = 0  # of the image, once it is complete
    touched_at: datetime  # it was begun, or somebody went on with it
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "ImageUpload":
        """The same upload with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a caller says of the bytes that follow: where they begin, and whether they are the last ones."""

    offset: int
    last: bool | None = None  # None: it is not said


@dataclass(frozen=True, slots=True)
class Came:
    """What is safe on the disk after a piece. `part`: all of the file, verified, and named."""

    offset: int
    part: ImagePart | None = None
