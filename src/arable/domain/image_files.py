"""What the management server's store of image parts promises. Services are handed one; they know no driver.

A part is named by the SHA-256 of its bytes, so the same bytes are kept once, whoever brings them, and a name
never changes its meaning. What is not finished has no name: a part is there completely, judged
(`image_header.py`) and verified, or not at all. Calls block; asynchronous callers give them a thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from arable.domain.chunks import ChunkList
from arable.domain.image_header import Limits
from arable.domain.image_upload import Came
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


class Partial(Protocol):
    """A part that comes in order, over many connections. What came is kept whatever ends one; `close` ends it always."""

    def write(self, piece: bytes, /) -> None:
        """The next bytes. Raises `BadInput` for more than were said, `NoRoom`; for a refused header all of it is forgotten."""

    def done(self) -> Came:
        """So much is safe. Raises `BadInput`, having forgotten all of it, when the whole is not what was said."""

    def close(self) -> None:
        """Let go: what came is safe, and another connection may go on. After the end, this does nothing."""


class PartialFiles(Protocol):
    """What came of uploads that go on where they broke off. Five verbs."""

    def length(self, id_: str) -> int | None:
        """How many bytes are safe on the disk; None: nothing of it is here."""

    def open(self, id_: str, said: PartSaid, offset: int) -> Partial:
        """Go on there. Raises `InUse` while anybody else does, `WrongOffset`; the first time makes it."""

    def forget(self, id_: str) -> None:
        """Nothing of it is kept; already gone is fine."""

    def ids(self) -> dict[str, float]:
        """Of all of which anything is here, and when it last grew (seconds since the epoch)."""

    def check_room(self, count: int) -> None:
        """Raises `NoRoom` when so many bytes would not fit now."""


class Arrival(Protocol):
    """A part that comes in chunks, in any order, over many attempts: what came is kept until the part is whole.

    From any thread, but `finish` and `close` when nobody else uses it.
    """

    def missing(self) -> frozenset[int]:
        """Numbers of the chunks that are not here yet."""

    def borrow(self) -> int:
        """Take what other parts here have; how many bytes. Only worth it once."""

    def put(self, number: int, data: bytes) -> None:
        """One more. Raises `Corrupt` for what is not that chunk, `NoRoom` when the disk is full."""

    def finish(self) -> ImagePart:
        """All chunks are here: the part has its name. Raises `Corrupt`, and forgets all of it, when it is another one."""

    def close(self) -> None:
        """Let go; what is here is kept."""


class PartChunks(Protocol):
    """The store of image parts, by chunks. Five verbs."""

    def chunks(self, sha256: str) -> ChunkList:
        """Of a part that is here: made once, and kept. Raises `NotFound`."""

    def read(self, sha256: str, numbers: Sequence[int]) -> list[bytes]:
        """These chunks of a part that is here. Raises `NotFound`."""

    def kept(self, sha256: str) -> ChunkList | None:
        """The list by which a part that is not whole yet was begun."""

    def receive(self, said: PartSaid, chunks: ChunkList) -> Arrival:
        """Begin, or go on with what came before. Raises `Conflict` while somebody else does, `NoRoom` when it can't fit."""

    def forget(self, sha256: str) -> None:
        """Nobody wants the rest of it."""
