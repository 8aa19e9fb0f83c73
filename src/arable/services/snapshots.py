"""What one may ask of snapshots: take one, look at it, set its volume back to it, delete it.

Limits, and room where the volume is, are taken in the transaction that accepts a snapshot (rule 2): as much as the volume
has, since so much is needed to keep it once the whole volume was written anew. What is to be done is wished of the host
whose pool has the volume, by an item for the operation; that host's word ends it (`controllers/snapshots.py`).

Limits are held before machines, these before snapshots, then volumes, and hosts after all.
"""

from arable.domain import ids
from arable.domain.access import Permission, Scope
from arable.domain.errors import BadInput, Conflict, LimitExceeded, NoRoom, NotFound
from arable.domain.ids import AccountId, HostId, OperationId, SnapshotId, VolumeId, ZoneId
from arable.domain.machine import LIVING, MachineState, MachineWish
from arable.domain.manifest import ItemKind
from arable.domain.operation import Operation, OperationState
from arable.domain.snapshot import (
    MOST_OF_A_VOLUME,
    Snapshot,
    SnapshotAct,
    SnapshotEvent,
    SnapshotState,
    SnapshotWish,
)
from arable.domain.units import MIB, Size
from arable.domain.volume import Change, Volume, VolumeState
from arable.services.asks import begin, check_expected, tell, under_way
from arable.services.attachments import machine_of
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.store import (
    attachments,
    bringing,
    copying,
    hosts,
    operations,
    quotas,
    reservations,
    snapshots,
    volumes,
    wishes,
)
from arable.store.rows import json_text
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.snapshots import SnapshotIn, SnapshotMadeOut, SnapshotOut, SnapshotQuery

_WHOLE = (
    VolumeState.AVAILABLE,
    VolumeState.ATTACHED,
    VolumeState.RESIZING,
    VolumeState.LIMITING,
)
"""States of volumes that are in one place, and stay there."""
_OFF = (MachineState.STOPPED, MachineState.ERROR)


def page(call: Call, query: SnapshotQuery) -> Page[SnapshotOut]:
    """Snapshots in sight, by age."""
    call.caller.needs(Permission.VOLUME_READ)
    where = snapshots.SnapshotFilter(
        account=AccountId(query.account) if query.account else None,
        zone=ZoneId(query.zone) if query.zone else None,
        volume=VolumeId(query.volume) if query.volume else None,
        name=query.name,
    )
    scope = call.caller.scope
    found = snapshots.page(call.tx, scope, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, _shape)


def get(call: Call, snapshot: SnapshotId) -> SnapshotOut:
    """One."""
    call.caller.needs(Permission.VOLUME_READ)
    return _shape(snapshots.get(call.tx, call.caller.scope, snapshot))


def create(call: Call, ask: SnapshotIn) -> SnapshotMadeOut:
    """Done when its host has taken it. Of a guest that runs, too."""
    call.caller.needs(Permission.VOLUME_WRITE)
    seen = _volume(call, VolumeId(ask.volume))
    quotas.take(call.tx, seen.account, snapshots=1, snapshot_mib=seen.mib)
    machine = machine_of(call, seen.machine) if seen.machine else None
    found = volumes.get(call.tx, call.caller.scope, seen.id, lock=True)
    if (found.machine, found.mib) != (seen.machine, seen.mib):
        raise Conflict(f"{found.name} was changed meanwhile; ask again")
    if found.view_of is not None:
        raise Conflict(
            f"this is how a machine reads {found.view_of}; take one of that", field="volume"
        )
    if found.state not in _WHOLE:
        raise Conflict(f"{found.name} is {found.state}; wait until that is over", field="volume")
    if machine and machine.wish not in LIVING:
        raise Conflict(f"{machine.name} is on its way out ({machine.state})", field="volume")
    host = _host(call, found)
    if snapshots.count_of(call.tx, found.id) >= MOST_OF_A_VOLUME:
        raise LimitExceeded(
            f"{found.name} has {MOST_OF_A_VOLUME} snapshots, and no volume has more; delete one",
            field="volume",
            why={"limit": MOST_OF_A_VOLUME},
        )
    if snapshots.named(call.tx, found.account, found.zone, ask.name):
        raise Conflict(f"there is a snapshot named {ask.name} already", field="name")
    id_ = SnapshotId(call.around.ids.new("snapshot"))
    operation = begin(call, "snapshot.create", id_, found.account, done=False)
    snapshot = Snapshot(
        id=id_,
        account=found.account,
        zone=found.zone,
        volume=found.id,
        name=ask.name,
        mib=found.mib,
        operation=operation.id,
        by=_by(call, found),
        created_at=call.around.clock.now(),
    )
    snapshots.add(call.tx, snapshot)
    if reservations.take(call.tx, {host: (Size(disk_mib=found.mib), 0)}):
        raise NoRoom(
            f"there is no room for a snapshot of {found.mib} MiB where {found.name} is; "
            "delete what is not needed there, or ask an operator"
        )
    check_stays(call, host)
    _wish(call, host, SnapshotAct.TAKE, snapshot, found)
    text = f"{snapshot.name}: is being taken of {found.name}"
    tell(call, found.account, "snapshot.creating", id_, text)
    return SnapshotMadeOut(snapshot=_shape(snapshot), operation=operation.id)


def restore(call: Call, snapshot: SnapshotId) -> OperationOut:
    """Done when its volume is as it was then. Nothing may run with the volume, and nothing starts with it meanwhile."""
    call.caller.needs(Permission.VOLUME_WRITE)
    seen = snapshots.get(call.tx, call.caller.scope, snapshot)
    of = volumes.get(call.tx, call.caller.scope, seen.volume)
    machine = None
    if of.machine:
        call.caller.needs(Permission.MACHINE_WRITE)
        machine = machine_of(call, of.machine)
    found = _held(call, snapshot)
    volume = volumes.get(call.tx, call.caller.scope, seen.volume, lock=True)
    if volume.machine != of.machine:
        raise Conflict(f"{volume.name} went to another machine meanwhile; ask again")
    if found.state is SnapshotState.RESTORING and found.operation:
        return shown(under_way(call, found.operation))
    if volume.read_only:
        raise Conflict(f"{volume.name} is shared read-only: it stays as it is")
    if volume.state not in (VolumeState.AVAILABLE, VolumeState.ATTACHED):
        raise Conflict(f"{volume.name} is {volume.state}; wait until that is over")
    if machine and (machine.state not in _OFF or machine.wish is not MachineWish.STOPPED):
        raise Conflict(f"{machine.name} is {machine.state}; stop it, set {volume.name} back then")
    operation = begin(call, "snapshot.restore", snapshot, found.account, done=False)
    after = found.after(SnapshotEvent.RESTORE, operation=operation.id)
    snapshots.save(call.tx, after)
    volumes.save(call.tx, volume.changed(change=Change.RESTORE, operation=operation.id, told=""))
    _wish(call, _host(call, volume), SnapshotAct.RESTORE, after, volume)
    text = f"{volume.name}: is being set back to {found.name}"
    tell(call, found.account, "volume.restoring", volume.id, text)
    return shown(operation)


def delete(call: Call, snapshot: SnapshotId) -> OperationOut:
    """Done when what only it kept is free. Takes the place of taking it, if that is not done."""
    call.caller.needs(Permission.VOLUME_WRITE)
    seen = snapshots.get(call.tx, call.caller.scope, snapshot)
    nowhere = volumes.get(call.tx, call.caller.scope, seen.volume).pool is None
    if nowhere:  # limits are held before snapshots, as taking one does
        quotas.give(call.tx, seen.account, snapshots=1, snapshot_mib=seen.mib)
    found = _held(call, snapshot)
    if found.state is SnapshotState.RESTORING:
        raise Conflict(f"its volume is being set back to {found.name}; wait until that is over")
    if copying.any_of(call.tx, snapshot):
        raise Conflict(f"a volume is being made of {found.name}; wait until that is over")
    if image := bringing.image_of(call.tx, snapshot):
        raise Conflict(f"the image {image} is being made of {found.name}; wait until that is over")
    volume = volumes.get(call.tx, call.caller.scope, found.volume)
    if nowhere != (volume.pool is None):
        raise Conflict(f"{volume.name or volume.id} was moved meanwhile; ask again")
    if nowhere:
        return shown(_forget(call, found))
    if volume.state is VolumeState.MIGRATING:
        raise Conflict(
            f"{volume.name or volume.id} is being carried to another storage pool; wait until that is over"
        )
    if found.state is SnapshotState.DELETING and found.operation:
        asked = under_way(call, found.operation)
        # One that is over has left it behind: it could not be taken, and nobody waits for its going.
        if asked.state is OperationState.RUNNING:
            return shown(asked)
    host = _host(call, volume)
    operation = begin(call, "snapshot.delete", snapshot, found.account, done=False)
    if found.operation:
        _supersede(call, found, found.operation, operation.id, host)
    after = found.after(SnapshotEvent.DELETE, operation=operation.id, by=_by(call, volume))
    snapshots.save(call.tx, after)
    _wish(call, host, SnapshotAct.DROP, after, volume)
    tell(call, found.account, "snapshot.deleting", snapshot, f"{found.name}: is being deleted")
    return shown(operation)


def _supersede(
    call: Call, snapshot: Snapshot, waiting: OperationId, by: OperationId, host: HostId
) -> None:
    error = Conflict(
        f"superseded: {snapshot.name} was deleted before it was taken",
        why={"superseded_by": by, "snapshot": snapshot.id},
    )
    operations.settle_many(call.tx, {waiting: (1, error)}, call.around.clock.now())
    told = [host, *([snapshot.by] if snapshot.by else [])]
    wishes.take_back(call.tx, ItemKind.SNAPSHOT, [(each, waiting) for each in told])


def _forget(call: Call, snapshot: Snapshot) -> Operation:
    """Its volume was lost, so nobody has it any more."""
    operation = begin(call, "snapshot.delete", snapshot.id, snapshot.account, done=True)
    if snapshot.operation:
        gone = {snapshot.operation: (1, Conflict(f"superseded: {snapshot.name} was deleted"))}
        operations.settle_many(call.tx, gone, call.around.clock.now())
    snapshots.remove(call.tx, [snapshot.id])
    tell(call, snapshot.account, "snapshot.gone", snapshot.id, f"{snapshot.name}: deleted")
    return operation


def check_stays(call: Call, host: HostId) -> None:
    """Raises `Conflict` when it is given up, with all that is there. The caller holds it."""
    if hosts.get(call.tx, host).removing:
        raise Conflict(
            "where its volume is was lost, and what was on it; nothing is kept there any more"
        )


def named(call: Call, account: AccountId, ref: str) -> Snapshot:
    """The account's own of that id or name."""
    scope = Scope(account=account)
    if ids.kind_of(ref) == "snapshot":
        try:
            return snapshots.get(call.tx, scope, SnapshotId(ref))
        except NotFound as error:
            raise NotFound(error.public, field="snapshot") from error
    found = snapshots.page(call.tx, scope, snapshots.SnapshotFilter(name=ref), limit=2)
    if not found:
        raise NotFound("there is no such snapshot", field="snapshot")
    if len(found) > 1:
        raise BadInput(
            "there are several of that name, in several zones: say the id", field="snapshot"
        )
    return found[0]


def _wish(call: Call, host: HostId, act: SnapshotAct, snapshot: Snapshot, volume: Volume) -> None:
    assert snapshot.operation, "it waits for this"
    assert volume.pool, "it has a host"
    wish = SnapshotWish(
        operation=snapshot.operation,
        act=act,
        snapshot=snapshot.id,
        volume=volume.id,
        pool=volume.pool,
        bytes=volume.mib * MIB,
    )
    told = [host, *([snapshot.by] if snapshot.by else [])]
    body = json_text(wish)
    items = [wishes.Item(each, ItemKind.SNAPSHOT, snapshot.operation, body) for each in told]
    wishes.put(call.tx, items)


def _by(call: Call, volume: Volume) -> HostId | None:
    """Of a pool of files: where its guest has it open, beyond the reach of its keeper (docs/decisions/0043)."""
    return snapshots.openers(call.tx, [volume.id]).get(volume.id)


def _volume(call: Call, id_: VolumeId) -> Volume:
    try:
        return volumes.get(call.tx, call.caller.scope, id_)
    except NotFound as error:
        raise NotFound(error.public, field="volume") from error


def _host(call: Call, volume: Volume) -> HostId:
    """The host of its pool."""
    if volume.pool is None:
        raise Conflict(
            f"{volume.name} is on no storage pool yet, so nothing is on it: attach it first",
            field="volume",
        )
    host = attachments.pool_host(call.tx, volume.pool)
    assert host, "pools of volumes are hosts' own"
    return host


def _held(call: Call, id_: SnapshotId) -> Snapshot:
    """One that the caller may change, held until the end of the transaction."""
    found = snapshots.get(call.tx, call.caller.scope, id_, lock=True)
    check_expected(call, found.generation, "snapshot")
    return found


def _shape(snapshot: Snapshot) -> SnapshotOut:
    return SnapshotOut(
        id=snapshot.id,
        account=snapshot.account,
        zone=snapshot.zone,
        name=snapshot.name,
        volume=snapshot.volume,
        mib=snapshot.mib,
        state=snapshot.state.value,  # type: ignore[arg-type]  # rows of gone ones are gone
        operation=snapshot.operation,
        told=snapshot.told,
        generation=snapshot.generation,
        created_at=snapshot.created_at,
    )
