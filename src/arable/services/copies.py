"""Volumes that begin as copies of snapshots.

A copy is where the snapshot's volume is, so unlike other volumes it has a pool, and room there, from its making. It is
whole: its snapshot, and the volume of that, may go when it is done.
"""

from arable.domain.access import Permission, Scope
from arable.domain.errors import BadInput, Conflict, NoRoom
from arable.domain.ids import VolumeId
from arable.domain.manifest import ItemKind
from arable.domain.offering import DiskOffering, StorageKind
from arable.domain.snapshot import SnapshotAct, SnapshotState, SnapshotWish
from arable.domain.units import MIB, Size
from arable.domain.volume import Change, Volume
from arable.services.asks import begin, tell
from arable.services.call import Call
from arable.services.references import References
from arable.services.snapshots import check_stays, named
from arable.services.volumes import check_name, shape
from arable.services.volumes import create as create_other
from arable.store import attachments, quotas, reservations, snapshots, volumes, wishes, zones
from arable.store.columns import micros
from arable.store.rows import json_text
from arable.wire.volumes import VolumeIn, VolumeOut


def create(call: Call, ask: VolumeIn) -> VolumeOut:
    """A volume by itself; of a snapshot it is there when its operation is done."""
    if ask.snapshot is None:
        return create_other(call, ask)
    call.caller.needs(Permission.VOLUME_WRITE)
    if ask.image is not None or ask.version is not None:
        raise BadInput("it begins as a snapshot or as an image, not as both", field="image")
    account, found = call.caller.account, References(call.tx)
    seen = named(call, account, ask.snapshot)
    of = volumes.get(call.tx, Scope(account=account), seen.volume)
    offering = found.disk_offering(ask.offering, "offering")
    _check_kind(of, offering)
    if ask.storage_zone is not None:
        raise BadInput("a copy is where its snapshot's volume is", field="storage_zone")
    if ask.zone is not None and found.zone(ask.zone).id != of.zone:
        raise BadInput(f"{seen.name} is in another zone", field="zone")
    if not zones.get(call.tx, of.zone).enabled:
        raise Conflict("this zone takes nothing new: it is disabled", field="zone")
    mib = _mib(ask, of, offering)
    quotas.take(call.tx, account, volumes=1, storage_mib=mib)
    snapshot = snapshots.get(call.tx, Scope(account=account), seen.id, lock=True)
    if snapshot.state is not SnapshotState.AVAILABLE:
        raise Conflict(f"{snapshot.name} is {snapshot.state}; wait until that is over")
    # It will be as large as the volume is when it is made: that may not grow until then (`resizing.py`).
    of = volumes.get(call.tx, Scope(account=account), of.id, lock=True)
    if of.erasing or of.mib > mib or of.pool is None:
        raise Conflict(f"{of.name or of.id} was changed meanwhile; ask again")
    if of.change is Change.MIGRATE:
        raise Conflict(
            f"{of.name or of.id} is being carried to another storage pool; wait until that is over"
        )
    check_name(call, account, of.zone, ask.name)
    id_ = VolumeId(call.around.ids.new("volume"))
    operation = begin(call, "volume.copy", id_, account, done=False)
    volume = Volume(
        id=id_,
        account=account,
        zone=of.zone,
        machine=None,
        pool=of.pool,
        name=ask.name,
        mib=mib,
        iops=offering.iops,
        bytes_per_second=offering.bytes_per_second,
        source=of.source,
        shared=of.shared,
        stays=True,
        tags=of.tags,
        change=Change.COPY,
        operation=operation.id,
        copied_from=snapshot.id,
        offering=offering.id,
        replicated=offering.replicated,
        storage_zone=of.storage_zone,
        zoned=micros(call.around.clock.now()),
        created_at=call.around.clock.now(),
    )
    volumes.add(call.tx, volume)
    host = attachments.pool_host(call.tx, of.pool)
    assert host, "pools of volumes are hosts' own"
    if reservations.take(call.tx, {host: (Size(disk_mib=mib), 0)}):
        raise NoRoom(f"there is no room for {mib} MiB where {snapshot.name} is")
    check_stays(call, host)
    wish = SnapshotWish(
        operation=operation.id,
        act=SnapshotAct.COPY,
        snapshot=snapshot.id,
        volume=of.id,
        pool=of.pool,
        bytes=mib * MIB,
        target=id_,
    )
    item = wishes.Item(host, ItemKind.SNAPSHOT, operation.id, json_text(wish))
    wishes.put(call.tx, [item])
    tell(call, account, "volume.copying", id_, f"{volume.name}: is being made of {snapshot.name}")
    return shape(call, volume)


def _check_kind(of: Volume, offering: DiskOffering) -> None:
    if of.shared != (offering.storage is StorageKind.SHARED):
        kind = StorageKind.SHARED if of.shared else StorageKind.LOCAL
        raise BadInput(
            f"the snapshot's volume is {kind}, disks of {offering.name} are not", field="offering"
        )
    if lacking := {*offering.tags} - {*of.tags}:
        raise BadInput(
            f"disks of {offering.name} are of the kind {', '.join(sorted(lacking))}, "
            "and the snapshot's volume was not made so",
            field="offering",
        )


def _mib(ask: VolumeIn, of: Volume, offering: DiskOffering) -> int:
    if offering.mib and ask.mib not in (None, offering.mib):
        raise BadInput(f"disks of {offering.name} have {offering.mib} MiB", field="mib")
    mib = offering.mib or ask.mib or of.mib
    if mib < of.mib:
        raise BadInput(f"the snapshot's volume has {of.mib} MiB", field="mib")
    return mib
