"""Files of images that come over as many connections as it takes: begun by what is said of them, gone on with where they are.

Bytes come in before the transaction that notes them (`begin_append`), as with all uploads (`images.py`). What counts is
what is on the disk: a row may be behind it, never ahead, unless the bytes are elsewhere, which is said.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict, LimitExceeded, TooLarge, Unavailable
from arable.domain.ids import ImageId, UploadId
from arable.domain.image_files import Partial, PartialFiles, PartSaid
from arable.domain.image_upload import MOST, Came, ImageUpload, Piece
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.settings import IMAGE_UPLOAD_SECONDS
from arable.services.call import Call, Prelude, Surroundings
from arable.services.images import changeable, check_format, check_limit, keep, limits, new_version
from arable.services.pages import paged
from arable.store import image_uploads, images, settings
from arable.store.database import Tx
from arable.store.image_uploads import UploadFilter
from arable.wire.common import Page
from arable.wire.images import ImageUploadIn, ImageUploadOut, ImageUploadQuery


@dataclass(frozen=True, slots=True)
class Found:
    """What there was of the same file before the write: an upload under way, and how far it is."""

    id: UploadId
    offset: int


def look_for(prelude: Prelude, ask: ImageUploadIn) -> Found | None:
    """Before the write, which waits for no disk: how far the same upload is; raises `NoRoom` for one that can't fit."""
    with prelude.look() as call:
        call.caller.needs(Permission.IMAGE_WRITE)
        new = _new(call, ask)
        found = image_uploads.same(call.tx, new)
        if found is not None:
            return Found(found.id, _offset(call, found))
        if _brought(call.tx, new) is None:
            _files(call.around).check_room(new.bytes)
    return None


def create(call: Call, ask: ImageUploadIn, before: Found | None) -> ImageUploadOut:
    """Begin one; the account's upload of the same file for the same purpose, if there is one that is not complete."""
    call.caller.needs(Permission.IMAGE_WRITE)
    new = _new(call, ask)
    images.lock_account(call.tx, new.account)
    found = image_uploads.same(call.tx, new)
    if found is not None:
        found = found.changed(touched_at=call.around.clock.now())
        image_uploads.save(call.tx, found)
        if before is None or before.id != found.id:  # it was begun a moment ago
            return _out(call, found, 0)
        return _out(call, found, before.offset)
    if image_uploads.count(call.tx, new.account) >= MOST:
        raise LimitExceeded(f"an account has at most {MOST} uploads that are not complete")
    check_limit(call.tx, images.bytes_of(call.tx, new.account, but={new.sha256}) + new.bytes)
    image_uploads.add(call.tx, new)
    return _out(call, new, new.bytes if _here(call, new) else 0)


def _new(call: Call, ask: ImageUploadIn) -> ImageUpload:
    """What is asked for. Raises `BadInput`, `TooLarge`, or `NotFound` of its image."""
    image = None if ask.image is None else changeable(call, ImageId(ask.image))
    if image and ask.role != "disk":
        told = "a version of one file is a disk; upload kernel and initrd as parts"
        raise BadInput(told, field="role")
    check_format(ask.role, ask.format, "format")
    if ask.bytes > limits(call.tx).file_bytes:
        raise TooLarge("the file is larger than one of an image may be", field="bytes")
    now = call.around.clock.now()
    return ImageUpload(
        id=UploadId(call.around.ids.new("upload")),
        account=image.account if image else call.caller.account,
        image=image.id if image else None,
        role=PartRole(ask.role),
        format=PartFormat(ask.format),
        sha256=ask.sha256,
        bytes=ask.bytes,
        touched_at=now,
        created_at=now,
    )


def page(call: Call, query: ImageUploadQuery) -> Page[ImageUploadOut]:
    """Uploads of the account, by age; complete ones for some time."""
    call.caller.needs(Permission.IMAGE_READ)
    where = UploadFilter(
        image=ImageId(query.image) if query.image else None,
        sha256=query.sha256,
        complete=query.complete,
    )
    scope = call.caller.scope
    found = image_uploads.page(call.tx, scope, where, after=query.after, limit=query.limit + 1)
    here = {each.id: _offset_as_known(call, each) for each in found}
    kept = _kept(call.tx)
    return paged(found, query, lambda upload: _shown(upload, here[upload.id], kept))


def get(call: Call, upload: UploadId) -> ImageUploadOut:
    """One, and how far it is."""
    call.caller.needs(Permission.IMAGE_READ)
    found = image_uploads.own(call.tx, call.caller.scope, upload)
    return _out(call, found, _offset(call, found))


def delete(call: Call, upload: UploadId) -> None:
    """Give it up. What came of it goes a moment later."""
    call.caller.needs(Permission.IMAGE_WRITE)
    image_uploads.remove(call.tx, image_uploads.own(call.tx, call.caller.scope, upload, lock=True))


@dataclass(frozen=True, slots=True)
class Appending:
    """Bytes on their way (`Receiver` of the API). What came is kept, whatever ends it."""

    partial: Partial
    piece: Piece

    def write(self, piece: bytes, /) -> None:
        """The next bytes."""
        self.partial.write(piece)

    def done(self) -> Came:
        """What this connection had to bring is here."""
        came = self.partial.done()
        if self.piece.last and came.part is None:
            told = f"{came.offset} bytes are here, so these were not the last ones"
            raise BadInput(told, field="upload-complete")
        return came

    def abort(self) -> None:
        """It broke off, or was refused."""
        self.partial.close()


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing more is needed: the account has brought that file before."""

    part: ImagePart

    def write(self, piece: bytes, /) -> None:
        """Raises: there is no further byte."""
        raise BadInput(f"more than the {self.part.bytes} bytes that were said ({len(piece)})")

    def done(self) -> Came:
        """As if it had come just now."""
        return Came(self.part.bytes, self.part)

    def abort(self) -> None:
        """Nothing to do."""


def begin_append(prelude: Prelude, upload: UploadId, piece: Piece) -> Appending | Nothing:
    """Before the first byte: refuse what can't go on there."""
    with prelude.look() as call:
        call.caller.needs(Permission.IMAGE_WRITE)
        found = image_uploads.own(call.tx, call.caller.scope, upload)
        if found.complete:
            raise Conflict("this upload is complete")
        if found.image is not None:
            changeable(call, found.image)
        brought = _brought(call.tx, found)
        complete = _here(call, found) and piece.offset == found.bytes
        if not complete:
            _offset(call, found)  # raises when what came is elsewhere
        said = PartSaid(
            role=found.role,
            format=found.format,
            sha256=found.sha256,
            bytes=found.bytes,
            limits=limits(call.tx),
        )
    if brought is not None and complete:
        return Nothing(brought)
    files = _files(prelude.around)
    return Appending(files.open(upload, said, piece.offset), piece)


def append(call: Call, upload: UploadId, received: Came) -> ImageUploadOut:
    """Note what came; if it is all, it is a version, or a part of the account."""
    call.caller.needs(Permission.IMAGE_WRITE)
    found = image_uploads.own(call.tx, call.caller.scope, upload, lock=True)
    if found.complete:  # somebody noted the same a moment ago
        return _out(call, found, found.bytes)
    after = found.changed(
        received=received.offset,
        server=call.around.server,
        touched_at=call.around.clock.now(),
    )
    if received.part is not None:
        after = replace(after, complete=True)
        if found.image is None:
            keep(call.tx, call.around, found.account, [received.part])
        else:
            image = changeable(call, found.image, lock=True)
            keep(call.tx, call.around, found.account, [received.part])
            made = new_version(call.tx, call.around, image, [received.part])
            after = replace(after, version=made.number)
    image_uploads.save(call.tx, after)
    return _out(call, after, received.offset)


def _brought(tx: Tx, upload: ImageUpload) -> ImagePart | None:
    """The file itself, if the upload's own account has brought it before. What others have is as good as absent."""
    found = images.parts_of(tx, upload.account, [upload.sha256]).get(upload.sha256)
    if found is None or (found.role, found.format) != (upload.role, upload.format):
        return None
    return found if found.bytes == upload.bytes else None


def _here(call: Call, upload: ImageUpload) -> bool:
    """Whether no byte of it is needed."""
    brought = _brought(call.tx, upload)
    return brought is not None and brought.sha256 in call.around.images.parts()


def _offset(call: Call, upload: ImageUpload) -> int:
    """How much of it is safe. Raises `Unavailable` when that is in a folder that this server does not see."""
    if upload.complete or _here(call, upload):
        return upload.bytes
    length = _files(call.around).length(upload.id)
    if length is None and upload.received and upload.server != call.around.server:
        raise Unavailable(
            f"what came of this upload is in the image store of {upload.server}, which this management server does not"
            " see: the directory images/ has to be the same for all of them. Ask that server, or delete the upload",
            why={"server": upload.server, "retry_after": 5},
        )
    return length or 0


def _files(around: Surroundings) -> PartialFiles:
    if around.partial is None:
        raise Unavailable("this management server takes no uploads that go on where they broke off")
    return around.partial


def _offset_as_known(call: Call, upload: ImageUpload) -> int:
    """The same for a list: of one whose bytes are elsewhere, as far as it was last noted."""
    try:
        return _offset(call, upload)
    except Unavailable:
        return upload.received


def _kept(tx: Tx) -> timedelta:
    return timedelta(seconds=settings.get(tx, IMAGE_UPLOAD_SECONDS))


def _out(call: Call, upload: ImageUpload, offset: int) -> ImageUploadOut:
    return _shown(upload, offset, _kept(call.tx))


def _shown(upload: ImageUpload, offset: int, kept: timedelta) -> ImageUploadOut:
    """As it looks outside."""
    return ImageUploadOut(
        id=upload.id,
        account=upload.account,
        image=upload.image,
        role=upload.role.value,
        format=upload.format.value,
        sha256=upload.sha256,
        bytes=upload.bytes,
        offset=offset,
        complete=upload.complete,
        version=upload.version or None,
        expires_at=upload.touched_at + kept,
        created_at=upload.created_at,
    )
