"""Makes what is on a shared volume a version of an image, which other regions fetch as they fetch any (docs/decisions/0052).

A snapshot of the volume, and a version of that, one after the other, each looked at again until it is there: so nothing is lost
when it is interrupted. What is taken is of the volume while it is shared, for then nobody writes to it. That is looked at when
the snapshot was taken, and not only before: what was written meanwhile, and shared again, is another one.
"""

from dataclasses import replace
from datetime import timedelta

from arable.domain.access import EVERYTHING, ROLES, Caller, Scope
from arable.domain.errors import CloudError, Conflict, NotFound
from arable.domain.ids import AccountId, ImageId, SnapshotId, UserId, VolumeId
from arable.domain.image import Image
from arable.domain.operation import OperationState
from arable.domain.snapshot import Snapshot, SnapshotState
from arable.domain.volume import Volume
from arable.domain.volume_copies import SentVolume
from arable.services import bringing, farm_wishes, sent_volumes, snapshots
from arable.services.asks import tell
from arable.services.belonging import FARM
from arable.services.call import Call, Surroundings
from arable.store import accounts, grid_members, images, operations, quotas
from arable.store import sent_volumes as kept
from arable.store import snapshots as kept_snapshots
from arable.store import volumes as kept_volumes
from arable.store.database import Tx
from arable.wire.snapshots import SnapshotIn

_SOON, _LONGEST = 3, 300  # seconds


def step(tx: Tx, around: Surroundings, account: AccountId, id_: VolumeId) -> None:
    """Do what is next for it. `account`: whose it is."""
    quotas.hold(tx, account)  # before its parts, these before volumes
    seen = kept.get(tx, id_)
    if seen is None:
        return
    call = Call(tx, _caller(tx, seen), around)
    parts = sent_volumes.readers(tx, seen, _volume(call, id_))
    volume = _volume(call, id_, lock=True)
    row = kept.get(tx, id_, lock=True)
    if row is None:
        return
    now = around.clock.now()
    try:
        with tx.begin_nested():
            after = _next(call, row, volume) if parts else _let_go(call, row)
    except CloudError as error:
        tries = row.tries + 1
        pause = timedelta(seconds=min(_SOON * 2 ** min(tries, 10), _LONGEST))
        after = replace(row, told=error.public, tries=tries, due_at=now + pause)
    if after is None:
        kept.drop(tx, id_)
        return
    kept.put(tx, after)
    said = sent_volumes.as_it_is(tx, after, volume.name if volume else "it")
    for part in parts:
        farm_wishes.copied(tx, part, said, now)


def _next(call: Call, row: SentVolume, volume: Volume | None) -> SentVolume:
    """One step on the way to a version of what is on it now."""
    soon = call.around.clock.now() + timedelta(seconds=_SOON)
    idle = replace(row, due_at=None, tries=0)
    if row.operation is not None:
        return _brought(call, row)
    snapshot = _snapshot(call, row)
    if snapshot is None and row.snapshot is not None:
        return _next(call, replace(row, snapshot=None), volume)
    if volume is None:  # lost with its host: what regions have they keep
        return replace(idle, told="" if row.made else "it was lost at home")
    fresh = volume.read_only and row.taken == row.shares
    if snapshot is not None and (row.made == row.shares or not fresh):
        _drop(call, snapshot)
        return replace(row, due_at=soon)
    if row.made == row.shares:
        return replace(idle, told="")
    if snapshot is None:
        if not volume.read_only:
            return replace(idle, told=f"{volume.name} is not shared at home just now")
        name = f"{volume.name[:40]}@{row.shares}-{row.tries}"
        made = snapshots.create(call, SnapshotIn(name=name, volume=row.volume))
        told = f"a copy of {volume.name} is being made at home"
        id_ = SnapshotId(made.snapshot.id)
        return replace(row, snapshot=id_, taken=row.shares, told=told, due_at=soon)
    if snapshot.state is not SnapshotState.AVAILABLE:
        return replace(row, due_at=soon)
    image, operation = bringing.again(
        call, _image(call, row, volume), _name(call, volume), _region(call), snapshot.id
    )
    return replace(row, image=image, operation=operation, due_at=soon)


def _brought(call: Call, row: SentVolume) -> SentVolume:
    """The host of its volume was asked to bring a version: it has, or will, or can't."""
    now = call.around.clock.now()
    assert row.operation, "it is waited for"
    try:
        found = operations.get(call.tx, Scope(), row.operation)
    except NotFound:
        return replace(row, operation=None, due_at=now)
    if found.state is OperationState.RUNNING:
        return replace(row, due_at=now + timedelta(seconds=_SOON))
    over = replace(row, operation=None, due_at=now)
    if found.state is not OperationState.DONE or row.image is None:
        tries = row.tries + 1
        pause = timedelta(seconds=min(_SOON * 2 ** min(tries, 10), _LONGEST))
        why = found.error.text if found.error else "its copy could not be made"
        return replace(over, tries=tries, told=why, due_at=now + pause)
    try:
        version = images.version(call.tx, row.image)
    except NotFound:
        return replace(over, image=None)
    text = f"{version.number} of what is on the volume is there for other regions"
    tell(call, row.account, "volume.copied", row.volume, f"version {text}")
    return replace(over, number=version.number, made=row.taken, tries=0, told="")


def _let_go(call: Call, row: SentVolume) -> SentVolume | None:
    """No part reads it any more. Its versions go by themselves (`store/came_volumes.py`)."""
    soon = call.around.clock.now() + timedelta(seconds=_SOON)
    if row.operation is not None:
        after = _brought(call, row)
        if after.operation is not None:
            return after
        row = replace(after, due_at=soon)
    snapshot = _snapshot(call, row)
    if snapshot is None:
        return None
    _drop(call, snapshot)
    return replace(row, due_at=soon)


def _drop(call: Call, snapshot: Snapshot) -> None:
    if snapshot.state is not SnapshotState.DELETING:
        snapshots.delete(call, snapshot.id)


def _snapshot(call: Call, row: SentVolume) -> Snapshot | None:
    if row.snapshot is None:
        return None
    try:
        return kept_snapshots.get(call.tx, Scope(), row.snapshot)
    except NotFound:
        return None


def _image(call: Call, row: SentVolume, volume: Volume) -> Image | None:
    """The one that has its versions, or is to have them."""
    found = images.named(call.tx, row.account, _name(call, volume))
    if row.image is not None and (found is None or found.id != row.image):
        kept_one = _by_id(call, row.image)
        found = kept_one or found
    return found


def _by_id(call: Call, id_: ImageId) -> Image | None:
    try:
        return images.get(call.tx, Scope(), id_)
    except NotFound:
        return None


def _name(call: Call, volume: Volume) -> str:
    return f"{volume.name}@{_region(call)}"


def _region(call: Call) -> str:
    link = grid_members.link(call.tx)
    if link is None:
        raise Conflict("this cloud is in no grid any more")
    return link.region


def _volume(call: Call, id_: VolumeId, *, lock: bool = False) -> Volume | None:
    try:
        return kept_volumes.get(call.tx, Scope(), id_, lock=lock)
    except NotFound:
        return None


def _caller(tx: Tx, row: SentVolume) -> Caller:
    """The account, as its farms act for it."""
    rank, may = ROLES["customer"]
    account = accounts.get(tx, EVERYTHING, row.account)
    return Caller(
        user=UserId(row.volume),
        name="farms in other regions",
        account=row.account,
        domain=account.domain,
        path="",  # who sees one account alone has no need of it
        role="customer",
        rank=rank,
        permissions=may,
        via=FARM,
    )
