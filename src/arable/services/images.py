"""Images: accounts make them of files they bring; everybody may use their own and the public ones.

Bytes come in before the transaction that makes a version of them (`begin_version`, `begin_part`, `copy_files` are
preludes), so a write never waits for a network or a disk. Bytes that then belong to nobody are swept away later
(`controllers/image_keeping.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from arable.domain.access import Permission, Rank
from arable.domain.errors import BadInput, Conflict, Forbidden, LimitExceeded, Unavailable
from arable.domain.ids import AccountId, ImageId
from arable.domain.image import FORMATS, Image, ImageVersion, KeptPart, check_parts, digest
from arable.domain.image_files import PartSaid, Upload
from arable.domain.image_header import Limits
from arable.domain.manifest import ImagePart, ItemKind, PartFormat, PartRole
from arable.domain.settings import ACCOUNT_IMAGE_MIB, IMAGE_UPLOAD_MIB
from arable.domain.units import MIB
from arable.services.asks import check_expected
from arable.services.call import Call, Prelude, Surroundings
from arable.services.pages import paged
from arable.store import bringing, images, operations, settings, tiers, transfers, wishes
from arable.store.database import Tx
from arable.store.images import ImageFilter
from arable.wire.common import Page
from arable.wire.images import (
    FileIn,
    FromFilesIn,
    FromPartsIn,
    ImageChange,
    ImageIn,
    ImageOut,
    ImageQuery,
    PartOut,
    UploadQuery,
    VersionOut,
    VersionQuery,
)


def create(call: Call, ask: ImageIn) -> ImageOut:
    """A new image of the caller's account, without a version as yet."""
    call.caller.needs(Permission.IMAGE_WRITE)
    check_publishing(call, public=ask.public)
    image = Image(
        id=ImageId(call.around.ids.new("image")),
        account=call.caller.account,
        name=ask.name,
        public=ask.public,
        command_line=ask.command_line,
        minimum_memory_mib=ask.minimum_memory_mib,
        created_at=call.around.clock.now(),
    )
    images.add(call.tx, image)
    return out(image, ())


def page(call: Call, query: ImageQuery) -> Page[ImageOut]:
    """Images to use, by age."""
    call.caller.needs(Permission.IMAGE_READ)
    where = ImageFilter(
        name=query.name,
        account=AccountId(query.account) if query.account else None,
        public=query.public,
    )
    scope = call.caller.scope
    found = images.page(call.tx, scope, where, after=query.after, limit=query.limit + 1)
    versions = images.versions(call.tx, [image.id for image in found])
    return paged(found, query, lambda image: out(image, versions.get(image.id, ())))


def get(call: Call, image: ImageId) -> ImageOut:
    """One image to use."""
    call.caller.needs(Permission.IMAGE_READ)
    return shown(call, images.get(call.tx, call.caller.scope, image))


def update(call: Call, image: ImageId, ask: ImageChange) -> ImageOut:
    """What is said is changed; versions never are."""
    call.caller.needs(Permission.IMAGE_WRITE)
    before = changeable(call, image, lock=True)
    check_expected(call, before.generation, "image")
    after = before.changed(**msgspec.to_builtins(ask))
    check_publishing(call, public=after.public and not before.public)
    if after.name != before.name:
        images.check_name(call.tx, after.account, after.name)
    images.save(call.tx, after)
    return shown(call, after)


def delete(call: Call, image: ImageId) -> None:
    """Only without versions. One that is being made of a snapshot is given up."""
    call.caller.needs(Permission.IMAGE_WRITE)
    found = changeable(call, image, lock=True)
    check_expected(call, found.generation, "image")
    waited = bringing.waiting(call.tx, [found.operation]) if found.operation else {}
    images.remove(call.tx, found)
    if found.operation:
        error = Conflict(f"superseded: {found.name} was deleted before it was made")
        operations.settle_many(call.tx, {found.operation: (1, error)}, call.around.clock.now())
        told = [(row.host, row.operation) for row in waited.values()]
        wishes.take_back(call.tx, ItemKind.SNAPSHOT, told)


def delete_version(call: Call, image: ImageId, query: VersionQuery) -> None:
    """Only when nothing was made of it. Its number is not given again."""
    call.caller.needs(Permission.IMAGE_WRITE)
    found = changeable(call, image, lock=True)
    images.remove_version(call.tx, images.version(call.tx, found.id, query.number))
    _give_up(call, found, query.number)


def changeable(call: Call, id_: ImageId, *, lock: bool = False) -> Image:
    """One of the caller's account, which its people may change."""
    found = images.own(call.tx, call.caller.scope, id_, lock=lock)
    if found.home:
        told = f"{found.name} has what is on a shared volume of {found.home}, for farms that read it in other regions; it goes with them"
        raise Conflict(told)
    return found


def _give_up(call: Call, image: Image, number: int) -> None:
    """Whoever waits until it is here from another region waits for nothing."""
    under_way = transfers.of(call.tx, image.id, number)
    if under_way is None:
        return
    error = Conflict(f"superseded: {image.name}/{number} was deleted before it was here")
    waiting = transfers.waiting(call.tx, under_way.id)
    ended = {each.operation: (1, error) for each in waiting if each.ends}
    operations.settle_many(call.tx, ended, call.around.clock.now())
    transfers.forget(call.tx, under_way)


@dataclass(frozen=True, slots=True)
class Incoming:
    """An upload on its way (`Receiver` of the API)."""

    upload: Upload

    def write(self, piece: bytes, /) -> None:
        """The next bytes."""
        self.upload.write(piece)

    def done(self) -> ImagePart:
        """All of them were there; raises unless they are what was said."""
        return self.upload.finish()

    def abort(self) -> None:
        """Leave nothing behind."""
        self.upload.abandon()


def begin_version(prelude: Prelude, image: ImageId, query: UploadQuery) -> Incoming:
    """Before the first byte: refuse what can't become a version."""
    with prelude.look() as call:
        call.caller.needs(Permission.IMAGE_WRITE)
        found = changeable(call, image)
        if query.role != "disk":
            raise BadInput(
                "a version of one file is a disk; upload kernel and initrd as parts", field="role"
            )
        said = said_of(call.tx, query, found.account)
    return Incoming(prelude.around.images.begin(said))


def upload_version(
    call: Call, image: ImageId, query: UploadQuery, received: ImagePart
) -> VersionOut:
    """A version of the one file that was received."""
    del query  # was heeded on the way in
    call.caller.needs(Permission.IMAGE_WRITE)
    found = changeable(call, image, lock=True)
    keep(call.tx, call.around, found.account, [received])
    return new_version(call.tx, call.around, found, [received])


def begin_part(prelude: Prelude, query: UploadQuery) -> Incoming:
    """Before the first byte: refuse what can't become a part."""
    with prelude.look() as call:
        call.caller.needs(Permission.IMAGE_WRITE)
        said = said_of(call.tx, query, call.caller.account)
    return Incoming(prelude.around.images.begin(said))


def upload_part(call: Call, query: UploadQuery, received: ImagePart) -> PartOut:
    """A part of the caller's account, for a version of several."""
    del query
    call.caller.needs(Permission.IMAGE_WRITE)
    keep(call.tx, call.around, call.caller.account, [received])
    return part_out(received)


def create_from_parts(call: Call, image: ImageId, ask: FromPartsIn) -> VersionOut:
    """A version of parts that the image's account brought. Those of others are as good as absent."""
    call.caller.needs(Permission.IMAGE_WRITE)
    found = changeable(call, image, lock=True)
    brought = images.parts_of(call.tx, found.account, ask.parts)
    for at, sha256 in enumerate(ask.parts):
        if sha256 not in brought:
            raise BadInput("the image's account has not uploaded this part", field=f"parts.{at}")
    return new_version(call.tx, call.around, found, [brought[sha256] for sha256 in ask.parts])


def copy_files(prelude: Prelude, image: ImageId, ask: FromFilesIn) -> tuple[ImagePart, ...]:
    """Copy files of the management server in. The directory they must be in is the operator's choice at start."""
    with prelude.look() as call:
        _needs_operator(call)
        found = changeable(call, image)
        for at, file in enumerate(ask.files):
            check_format(file.role, file.format, f"files.{at}.format")
        said = [said_of(call.tx, file, found.account) for file in ask.files]
    inbox = prelude.around.inbox
    if inbox is None:
        raise Unavailable("this management server has no image directory")
    paths = [_beneath(inbox, file, f"files.{at}.path") for at, file in enumerate(ask.files)]
    made = [
        prelude.around.images.admit_path(path, one) for path, one in zip(paths, said, strict=True)
    ]
    return tuple(made)


def create_from_files(
    call: Call, image: ImageId, ask: FromFilesIn, copied: tuple[ImagePart, ...]
) -> VersionOut:
    """A version of the files that were copied in."""
    del ask
    _needs_operator(call)
    found = changeable(call, image, lock=True)
    keep(call.tx, call.around, found.account, copied)
    return new_version(call.tx, call.around, found, copied)


def new_version(
    tx: Tx, around: Surroundings, image: Image, parts: Sequence[ImagePart], **but: Any
) -> VersionOut:
    """The next version of a locked image, which is otherwise changed as is said."""
    check_parts(parts)
    after = image.changed(newest=image.newest + 1, **but)
    images.save(tx, after)
    version = ImageVersion(
        image=image.id,
        number=after.newest,
        digest=digest(parts),
        parts=tuple(sorted(parts, key=lambda part: part.role)),
        bytes=sum(part.bytes for part in parts),
        created_at=around.clock.now(),
    )
    images.add_version(tx, version)
    tiers.published(tx, image=image.id)
    return version_out(version)


def keep(tx: Tx, around: Surroundings, account: AccountId, parts: Sequence[ImagePart]) -> None:
    """These parts belong to the account from now on, if its limit lets them."""
    here = around.images.parts()
    if any(part.sha256 not in here for part in parts):
        raise Unavailable("the bytes are gone again; upload them anew")
    images.lock_account(tx, account)
    digests = {part.sha256 for part in parts}
    before = images.bytes_of(tx, account, but=digests)
    check_limit(tx, before + sum(part.bytes for part in parts))
    for part in parts:
        images.keep_part(tx, KeptPart(account=account, part=part, created_at=around.clock.now()))


def check_limit(tx: Tx, total: int) -> None:
    """Raises `LimitExceeded` when an account's files would take so many bytes."""
    most = settings.get(tx, ACCOUNT_IMAGE_MIB)
    if total > most * MIB:
        raise LimitExceeded(f"an account's image files take at most {most} MiB together")


def said_of(tx: Tx, query: UploadQuery | FileIn, account: AccountId) -> PartSaid:
    """What an upload of the account must turn out to be. Raises `BadInput`, `LimitExceeded`."""
    check_format(query.role, query.format, "format")
    check_limit(tx, images.bytes_of(tx, account))
    return PartSaid(
        role=PartRole(query.role),
        format=PartFormat(query.format),
        sha256=query.sha256,
        limits=limits(tx),
    )


def limits(tx: Tx) -> Limits:
    """What any file of an image is judged by."""
    most, usual = settings.get(tx, IMAGE_UPLOAD_MIB) * MIB, Limits()
    return replace(
        usual,
        file_bytes=min(usual.file_bytes, most),
        blob_bytes=min(usual.blob_bytes, most),
    )


def check_format(role: str, said: str, field: str) -> None:
    """Raises `BadInput` for a format that no part of that role has."""
    possible = FORMATS[PartRole(role)]
    if said not in possible:
        raise BadInput(f"a {role} is {' or '.join(possible)}", field=field)


def _beneath(inbox: Path, file: FileIn, field: str) -> Path:
    """The file, if it is in the directory itself or below: no way leads out, through links neither."""
    root = inbox.resolve()
    try:
        found = (root / file.path).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        found = root
    if not found.is_relative_to(root) or not found.is_file():
        raise BadInput("there is no such file in the image directory", field=field)
    return found


def check_publishing(call: Call, *, public: bool) -> None:
    """Raises `Forbidden` when the caller may not make public images."""
    if public and call.caller.rank < Rank.OPERATOR:
        raise Forbidden("only operators make images that every account can use")


def _needs_operator(call: Call) -> None:
    call.caller.needs(Permission.INFRA_WRITE)
    call.caller.needs(Permission.IMAGE_WRITE)
    if call.caller.rank < Rank.OPERATOR:
        raise Forbidden("only operators use files of the management server")


def shown(call: Call, image: Image) -> ImageOut:
    """With its versions."""
    return out(image, images.versions(call.tx, [image.id]).get(image.id, ()))


def out(image: Image, versions: Sequence[ImageVersion]) -> ImageOut:
    """As it looks outside."""
    return ImageOut(
        id=image.id,
        account=image.account,
        name=image.name,
        public=image.public,
        command_line=image.command_line,
        minimum_memory_mib=image.minimum_memory_mib,
        versions=tuple(version_out(version) for version in versions),
        snapshot=image.snapshot,
        operation=image.operation,
        told=image.told,
        home=image.home or None,
        generation=image.generation,
        created_at=image.created_at,
    )


def version_out(version: ImageVersion) -> VersionOut:
    """As it looks outside."""
    return VersionOut(
        image=version.image,
        number=version.number,
        digest=version.digest,
        parts=tuple(part_out(part) for part in version.parts),
        bytes=version.bytes,
        arriving=version.arriving,
        fetched=version.fetched,
        pinned=version.pinned,
        created_at=version.created_at,
    )


def part_out(part: ImagePart) -> PartOut:
    return PartOut(
        role=part.role.value,
        format=part.format.value,
        sha256=part.sha256,
        bytes=part.bytes,
        virtual_bytes=part.virtual_bytes,
    )
