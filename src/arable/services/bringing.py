"""Images whose first version is made of a snapshot: its host brings the bytes (docs/decisions/0018).

Until they are here the image has no version, and an operation that waits. What a host brings comes in by the door that
uploads come in by, and becomes a version in the transaction that ends the operation: there is one, or there is none.
"""

from dataclasses import replace

from arable.domain.access import Permission, Scope
from arable.domain.errors import Conflict, NotFound
from arable.domain.event import Event
from arable.domain.ids import AccountId, HostId, ImageId, OperationId, SnapshotId
from arable.domain.image import Image, ImageVersion
from arable.domain.manifest import ImagePart, ItemKind, PartRole
from arable.domain.snapshot import Snapshot, SnapshotAct, SnapshotState, SnapshotWish
from arable.domain.units import MIB
from arable.domain.volume import Change, Volume
from arable.services.agents import known
from arable.services.asks import begin, tell
from arable.services.call import Call, Surroundings
from arable.services.images import (
    Incoming,
    check_limit,
    check_publishing,
    keep,
    new_version,
    out,
    said_of,
)
from arable.services.images import create as create_empty
from arable.services.snapshots import check_stays, named
from arable.store import (
    attachments,
    bringing,
    events,
    images,
    machines,
    operations,
    snapshots,
    volumes,
    wishes,
)
from arable.store.bringing import Bringing
from arable.store.database import Tx
from arable.store.rows import json_text
from arable.wire.images import ImageIn, ImageOut, UploadQuery

GONE = "no image is to be made of that any more"


def create(call: Call, ask: ImageIn) -> ImageOut:
    """An image without a version; of a snapshot it has one when its operation is done."""
    if ask.snapshot is None:
        return create_empty(call, ask)
    call.caller.needs(Permission.IMAGE_WRITE)
    call.caller.needs(Permission.VOLUME_READ)
    check_publishing(call, public=ask.public)
    account = call.caller.account
    snapshot, of = _kept(call, account, named(call, account, ask.snapshot).id)
    booted = _booted(call, account, of)
    id_ = ImageId(call.around.ids.new("image"))
    operation = begin(call, "image.create", id_, account, done=False)
    image = Image(
        id=id_,
        account=account,
        name=ask.name,
        public=ask.public,
        command_line=ask.command_line or (booted[0].command_line if booted else ""),
        minimum_memory_mib=ask.minimum_memory_mib
        or (booted[0].minimum_memory_mib if booted else 0),
        snapshot=snapshot.id,
        beside=_beside(booted[1]) if booted else (),
        operation=operation.id,
        created_at=call.around.clock.now(),
    )
    images.add(call.tx, image)
    _wish(call, operation.id, snapshot, of)
    tell(call, account, "image.creating", id_, f"{image.name}: is being made of {snapshot.name}")
    return out(image, ())


def again(
    call: Call, image: Image | None, name: str, home: str, snapshot: SnapshotId
) -> tuple[ImageId, OperationId]:
    """Another version of an image of what is on a shared volume, or its first; the operation waits for it."""
    account = call.caller.account
    kept, of = _kept(call, account, snapshot)
    now = call.around.clock.now()
    if image is not None and image.operation is not None:
        raise Conflict(f"another version of {image.name} is just being made")
    id_ = ImageId(call.around.ids.new("image")) if image is None else image.id
    operation = begin(call, "image.create", id_, account, done=False)
    if image is None:
        made = Image(id=id_, account=account, name=name, home=home, snapshot=kept.id, operation=operation.id, created_at=now)  # fmt: skip
        images.add(call.tx, made)
    else:
        images.save(call.tx, image.changed(snapshot=kept.id, operation=operation.id, told=""))
    _wish(call, operation.id, kept, of)
    return id_, operation.id


def _kept(call: Call, account: AccountId, id_: SnapshotId) -> tuple[Snapshot, Volume]:
    """A snapshot whose host can bring what it keeps, held; and its volume, held."""
    snapshot = snapshots.get(call.tx, Scope(account=account), id_, lock=True)
    if snapshot.state is not SnapshotState.AVAILABLE:
        raise Conflict(
            f"{snapshot.name} is {snapshot.state}; wait until that is over", field="snapshot"
        )
    of = volumes.get(call.tx, Scope(account=account), snapshot.volume, lock=True)
    if of.erasing or of.pool is None:
        raise Conflict(f"{of.name or of.id} was changed meanwhile; ask again", field="snapshot")
    if of.change is Change.MIGRATE:
        raise Conflict(
            f"{of.name or of.id} is being carried to another storage pool; wait until that is over",
            field="snapshot",
        )
    check_limit(call.tx, images.bytes_of(call.tx, account) + snapshot.mib * MIB)
    return snapshot, of


def _wish(call: Call, operation: OperationId, snapshot: Snapshot, of: Volume) -> None:
    """Its host is told to bring it."""
    assert of.pool, "what it keeps is somewhere"
    host = attachments.pool_host(call.tx, of.pool)
    assert host, "pools of volumes are hosts' own"
    check_stays(call, host)
    wish = SnapshotWish(
        operation=operation,
        act=SnapshotAct.BRING,
        snapshot=snapshot.id,
        volume=of.id,
        pool=of.pool,
    )
    item = wishes.Item(host, ItemKind.SNAPSHOT, operation, json_text(wish))
    wishes.put(call.tx, [item])


def may(
    tx: Tx,
    around: Surroundings,
    host: HostId,
    epoch: int,
    operation: OperationId,
    sha256: str,
    length: int,
) -> Incoming:
    """A host is about to bring the bytes of an image that is to be made there now. Raises `NotFound` for any other."""
    known(tx, host, epoch)
    row = _waited(tx, host, operation, lock=False)
    said = said_of(tx, UploadQuery(format="qcow2", sha256=sha256), row.account)
    return Incoming(around.images.begin(replace(said, bytes=length)))


def brought(
    tx: Tx,
    around: Surroundings,
    host: HostId,
    epoch: int,
    operation: OperationId,
    received: ImagePart,
) -> None:
    """They are here: the image has its version, and the operation is done."""
    known(tx, host, epoch)
    row = _waited(tx, host, operation)
    image = images.own(tx, Scope(account=row.account), row.id, lock=True)
    parts = [received, *image.beside]
    keep(tx, around, image.account, parts)
    made = new_version(tx, around, image, parts, beside=(), operation=None, told="")
    at = around.clock.now()
    operations.settle_many(tx, {operation: (1, None)}, at)
    wishes.take_back(tx, ItemKind.SNAPSHOT, [(host, operation)])
    text = f"{image.name}: version {made.number} was made of a snapshot"
    told = Event(at=at, account=image.account, kind="image.created", subject=image.id, text=text)
    events.add_many(tx, [told])


def _waited(tx: Tx, host: HostId, operation: OperationId, *, lock: bool = True) -> Bringing:
    row = bringing.waiting(tx, [operation], lock=lock).get(operation)
    if row is None or row.host != host:
        raise NotFound(GONE)
    return row


def _booted(call: Call, account: AccountId, of: Volume) -> tuple[Image, ImageVersion] | None:
    """What the machine boots whose root disk it is, if the account may still use that."""
    if of.machine is None or of.position:
        return None
    machine = machines.get(call.tx, Scope(account=account), of.machine)
    if machine.image is None:
        return None
    try:
        image = images.get(call.tx, Scope(account=account), machine.image)
        return image, images.version(call.tx, image.id, machine.image_version)
    except NotFound:
        return None


def _beside(version: ImageVersion) -> tuple[ImagePart, ...]:
    """A disk that needs a kernel beside it boots with no other."""
    return tuple(part for part in version.parts if part.role is not PartRole.DISK)
