"""A file of an image, sent until all of it is there: over connections that break, servers that restart, commands that were killed.

What the file is (its length, its SHA-256) is said first, so the same file is found again whoever sends it. Then its bytes go in
strides, each a call of its own; after any trouble the server is asked where to go on. Whoever waits hears how far it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from arable.client.arable import Arable
from arable.client.errors import (
    CallError,
    InUse,
    NotArable,
    Refused,
    TooOften,
    Unavailable,
    Unreachable,
    WrongOffset,
)
from arable.client.patience import Patience
from arable.wire.images import ImageUploadIn, ImageUploadOut

STRIDE = 64 << 20
"""Bytes of one call: what a proxy in between that keeps whole bodies would have to keep."""
TRIES = 60
"""Without a byte that got through: five minutes or so."""
_PIECE = 1 << 18
_READ_AGAIN = (
    20 << 20
)  # bytes a second, at least, that a server verifies of what came before it was restarted
_PASSING = (Unreachable, NotArable, InUse, TooOften, Unavailable, WrongOffset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Hears how far a file is: `sent` bytes, as they go out; `again` with what went wrong, before another try."""

    sent: Callable[[int], None] = lambda _offset: None
    again: Callable[[CallError], None] = lambda _error: None


def send(
    cloud: Arable,
    ask: ImageUploadIn,
    source: BinaryIO,
    *,
    told: Told | None = None,
    stride: int = STRIDE,
    patience: Patience | None = None,
) -> ImageUploadOut:
    """The complete upload. `source` can be sought, and is what `ask` says. Raises what the last try did.

    What is refused for good is forgotten at the server, too.
    """
    told = told or Told()
    tries = _Tries(patience or Patience(tries=TRIES, first=0.5, longest=10.0), told)
    upload = tries.answer(lambda: cloud.image_uploads.create(ask))
    tries.reached(upload.offset)
    while not upload.complete:
        told.sent(upload.offset)
        try:
            upload = _stride(cloud, upload, source, stride, told)
        except CallError as error:
            if not _passing(error):
                _forget(cloud, upload.id)
                raise
            tries.failed(error)
            upload = tries.answer(_asking(cloud, upload.id))
        tries.reached(upload.offset)
    told.sent(upload.offset)
    return upload


class _Tries:
    """Counts what went wrong since a byte got through."""

    def __init__(self, patience: Patience, told: Told) -> None:
        self._patience = patience
        self._told = told
        self._failed = 0
        self._best = 0

    def reached(self, offset: int) -> None:
        """If that is further than ever before, there is no reason to give up."""
        if offset > self._best:
            self._best, self._failed = offset, 0

    def failed(self, error: CallError) -> None:
        """Wait before another try. Raises it when that is one too many."""
        self._failed += 1
        if self._failed >= self._patience.tries:
            raise error
        self._told.again(error)
        self._patience.rest(self._failed)

    def answer(self, ask: Callable[[], ImageUploadOut]) -> ImageUploadOut:
        """As soon as somebody gives one."""
        while True:
            try:
                return ask()
            except CallError as error:
                if not _passing(error):
                    raise
                self.failed(error)


def _stride(
    cloud: Arable, upload: ImageUploadOut, source: BinaryIO, stride: int, told: Told
) -> ImageUploadOut:
    end = min(upload.offset + stride, upload.bytes)
    waits = upload.bytes // _READ_AGAIN if end == upload.bytes else 0
    pieces = _pieces(source, upload.offset, end, told)
    return cloud.image_uploads.append(upload.id, pieces, upload.offset, waits=waits)


def _pieces(source: BinaryIO, begin: int, end: int, told: Told) -> Iterator[bytes]:
    source.seek(begin)
    at = begin
    while at < end:
        piece = source.read(min(_PIECE, end - at))
        if not piece:
            raise OSError("the file has become shorter while it was sent")
        yield piece
        at += len(piece)
        told.sent(at)


def _asking(cloud: Arable, id_: str) -> Callable[[], ImageUploadOut]:
    return lambda: cloud.image_uploads.get(id_)


def _passing(error: CallError) -> bool:
    """Whether another try may do better. What a server of ours did not foresee may be over when it has restarted."""
    return isinstance(error, _PASSING) or (isinstance(error, Refused) and error.status >= 502)


def _forget(cloud: Arable, id_: str) -> None:
    """It can't succeed as it is, so it shall not count in what the account has."""
    try:
        cloud.image_uploads.delete(id_)
    except CallError:
        return
