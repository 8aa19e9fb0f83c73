"""What one may ask of volumes: make one by itself, name it, erase it, look at it. Whose it is: `attachments.py`."""

from collections.abc import Sequence

from msgspec import UNSET

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import AccountId, MachineId, OperationId, StorageZoneId, VolumeId, ZoneId
from arable.domain.image import ImageVersion
from arable.domain.manifest import ItemKind, ScrapWish
from arable.domain.offering import DiskOffering, StorageKind
from arable.domain.units import MIB
from arable.domain.volume import Change, Volume, VolumeState
from arable.services import belonging, sent_volumes
from arable.services.asks import begin, check_expected, tell, under_way
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.services.references import References
from arable.store import (
    attachments,
    carries,
    carry_ends,
    operations,
    quotas,
    snapshots,
    volume_replicas,
    volumes,
    wishes,
)
from arable.store.columns import micros
from arable.store.rows import json_text
from arable.store.volume_replicas import Replica
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.volumes import VolumeChange, VolumeIn, VolumeOut, VolumeQuery


def page(call: Call, query: VolumeQuery) -> Page[VolumeOut]:
    """Volumes in sight, by age."""
    call.caller.needs(Permission.VOLUME_READ)
    where = volumes.VolumeFilter(
        account=AccountId(query.account) if query.account else None,
        zone=ZoneId(query.zone) if query.zone else None,
        machine=MachineId(query.machine) if query.machine else None,
        name=query.name,
        storage_zone=StorageZoneId(query.storage_zone) if query.storage_zone else None,
        view_of=VolumeId(query.view_of) if query.view_of else None,
    )
    found = volumes.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    kept = _replicas(call, found)
    return paged(found, query, lambda volume: shape(call, volume, kept.get(volume.id)))


def get(call: Call, volume: VolumeId) -> VolumeOut:
    """One."""
    call.caller.needs(Permission.VOLUME_READ)
    found = volumes.get(call.tx, call.caller.scope, volume)
    return shape(call, found, _replicas(call, [found]).get(volume))


def create(call: Call, ask: VolumeIn) -> VolumeOut:
    """One by itself. It is on no pool before a machine has it: where it is best kept is not known earlier."""
    call.caller.needs(Permission.VOLUME_WRITE)
    account, found = call.caller.account, References(call.tx)
    zone = found.zone(ask.zone)
    offering = found.disk_offering(ask.offering, "offering")
    version = None
    if ask.image is not None:
        version = found.version(found.image(account, ask.image), ask.version)
        if version.arriving:
            told = "it is on its way here from another region; ask again when it is here"
            raise Conflict(told, field="version")
        if version.disk is None:
            raise BadInput("this image is a kernel without a disk", field="image")
    elif ask.version is not None:
        raise BadInput("a version is one of an image", field="version")
    mib = _mib(ask, offering, version)
    quotas.take(call.tx, account, volumes=1, storage_mib=mib)
    check_name(call, account, zone.id, ask.name)
    within = None
    if ask.storage_zone is not None:
        within = found.storage_zone(account, zone.id, ask.storage_zone)
    volume = Volume(
        id=VolumeId(call.around.ids.new("volume")),
        account=account,
        zone=zone.id,
        machine=None,
        name=ask.name,
        mib=mib,
        iops=offering.iops,
        bytes_per_second=offering.bytes_per_second,
        source=version.disk if version else None,
        shared=offering.storage is StorageKind.SHARED,
        stays=True,
        tags=offering.tags,
        offering=offering.id,
        storage_zone=within,
        replicated=offering.replicated,
        zoned=micros(call.around.clock.now()),
        created_at=call.around.clock.now(),
    )
    volumes.add(call.tx, volume)
    tell(call, account, "volume.created", volume.id, f"{volume.name}: created")
    return shape(call, volume)


def update(call: Call, volume: VolumeId, change: VolumeChange) -> VolumeOut:
    """Name it, or give it to another storage zone."""
    if change.storage_zone is not UNSET:  # limits are held before volumes; no zone goes meanwhile
        quotas.hold(call.tx, volumes.get(call.tx, call.caller.scope, volume).account)
    found = held(call, volume)
    belonging.check_free(call, volume)
    if found.state is VolumeState.ERASING:
        raise Conflict(f"{found.name} is being erased")
    if change.name is not UNSET and change.name != found.name:
        if found.stays:
            check_name(call, found.account, found.zone, change.name)
        before, found = found, found.changed(name=change.name)
        volumes.save(call.tx, found)
        tell(call, found.account, "volume.renamed", volume, f"{before.name}: now {found.name}")
    if found.view_of is not None:
        raise Conflict(f"this is how a machine reads {found.view_of}; change that one")
    if change.storage_zone is not UNSET:
        found = _give(call, found, change.storage_zone)
    if change.share is not UNSET:
        found = _share(call, found, read_only=change.share == "read-only")
    return shape(call, found)


def _give(call: Call, volume: Volume, ref: str | None) -> Volume:
    """To another storage zone: what is on it is read there from then on, and nowhere else."""
    found = References(call.tx)
    wanted = found.storage_zone(volume.account, volume.zone, ref) if ref is not None else None
    if wanted == volume.storage_zone:
        return volume
    _check_unused(call, volume, "storage_zone")
    now = call.around.clock.now()
    given = volume.within(wanted, micros(now))
    volumes.save(call.tx, given)
    where = f"is in the storage zone {ref} now" if ref else "is in no storage zone now"
    tell(call, volume.account, "volume.zoned", volume.id, f"{volume.name}: {where}")
    return given


def _share(call: Call, volume: Volume, *, read_only: bool) -> Volume:
    """Whether many may read it, and none may write."""
    if read_only == volume.read_only:
        return volume
    _check_unused(call, volume, "share")
    if read_only and volume.pool is None:
        raise Conflict(
            f"nothing is on {volume.name} yet: attach it to a machine that writes what others are to read",
            field="share",
        )
    changed = volume.changed(read_only=read_only)
    volumes.save(call.tx, changed)
    if read_only:
        sent_volumes.shared(call.tx, changed, call.around.clock.now())
    text = "many machines may read it now" if read_only else "one machine may have it now"
    tell(call, volume.account, "volume.shared", volume.id, f"{volume.name}: {text}")
    return changed


def _check_unused(call: Call, volume: Volume, field: str) -> None:
    if volume.state is not VolumeState.AVAILABLE:
        raise Conflict(
            f"{volume.name} is {volume.state}; detach it first, or wait until that is over",
            field=field,
        )
    check_unread(call, volume, field)


def check_unread(call: Call, volume: Volume, field: str = "") -> None:
    """Raises `Conflict` while machines read it. Whoever calls holds it, so that none comes meanwhile."""
    if volume.read_only and (count := volumes.views(call.tx, volume.id)):
        raise Conflict(
            f"{count} machines read {volume.name}; detach it from them first", field=field
        )


def delete(call: Call, volume: VolumeId) -> OperationOut:
    """Done when what was on it can't be read any more. Only for one that no machine has."""
    call.caller.needs(Permission.VOLUME_WRITE)
    seen = volumes.get(call.tx, call.caller.scope, volume)
    nowhere = seen.pool is None and seen.machine is None
    if nowhere:  # limits are held before volumes, as making one does
        quotas.give(call.tx, seen.account, volumes=1, storage_mib=seen.mib)
    found = held(call, volume)
    belonging.check_free(call, volume)
    if found.erasing and found.operation:
        return shown(under_way(call, found.operation))
    if found.machine is not None:
        raise Conflict(f"{found.name} is {found.state}; detach it first, then delete it")
    if found.state is VolumeState.RESTORING:
        raise Conflict(f"{found.name} is being set back to a snapshot; wait until that is over")
    if found.state is VolumeState.COPYING and found.operation:
        _give_up(call, found, found.operation)
    if found.state is VolumeState.MIGRATING and (row := carries.of(call.tx, volume)):
        gone = Conflict(f"superseded: {found.name} was deleted before it was in the other pool")
        carry_ends.stop(call.tx, row, call.around.clock.now(), gone)
        found = volumes.get(call.tx, call.caller.scope, volume, lock=True)
    check_unread(call, found)
    sent_volumes.check_unneeded(call.tx, found)
    # Those that are being deleted may go with it: where that can't be done one by one, this can.
    if count := snapshots.wanted_of(call.tx, volume):
        raise Conflict(f"{found.name} has {count} snapshots, which go with it; delete them first")
    if nowhere != (found.pool is None):
        raise Conflict(f"{found.name} was attached meanwhile; ask again")
    operation = begin(call, "volume.delete", volume, found.account, done=nowhere)
    host = attachments.pool_host(call.tx, found.pool) if found.pool else None
    if nowhere:
        volumes.remove(call.tx, [volume], call.around.clock.now())
        tell(call, found.account, "volume.gone", volume, f"{found.name}: deleted")
        return shown(operation)
    assert found.pool
    assert host, "pools of volumes are hosts' own"
    volumes.save(
        call.tx, found.changed(erasing=True, change=Change.NONE, operation=operation.id, told="")
    )
    scrap = json_text(ScrapWish(volume=volume, pool=found.pool))
    wishes.put(call.tx, [wishes.Item(host, ItemKind.SCRAP, volume, scrap)])
    tell(call, found.account, "volume.erasing", volume, f"{found.name}: is being erased")
    return shown(operation)


def _give_up(call: Call, volume: Volume, waiting: OperationId) -> None:
    """It is not made of a snapshot any more."""
    assert volume.pool, "it has a place from the beginning"
    host = attachments.pool_host(call.tx, volume.pool)
    assert host, "pools of volumes are hosts' own"
    error = Conflict(f"superseded: {volume.name} was deleted before it was made")
    operations.settle_many(call.tx, {waiting: (1, error)}, call.around.clock.now())
    wishes.take_back(call.tx, ItemKind.SNAPSHOT, [(host, waiting)])


def held(call: Call, id_: VolumeId) -> Volume:
    """A volume that the caller may change, held until the end of the transaction."""
    call.caller.needs(Permission.VOLUME_WRITE)
    found = volumes.get(call.tx, call.caller.scope, id_, lock=True)
    check_expected(call, found.generation, "volume")
    return found


def check_free(call: Call, volume: Volume) -> None:
    """Raises `Conflict` when it can't stand by itself, since another one has its name."""
    there = volumes.named(call.tx, volume.account, volume.zone, volume.name)
    if there is not None and there.id != volume.id:
        raise Conflict(
            f"another volume that stands by itself is named {volume.name}; rename this one first"
        )


def check_name(call: Call, account: AccountId, zone: ZoneId, name: str) -> None:
    """Raises `Conflict` when the account has a volume by itself of that name."""
    if volumes.named(call.tx, account, zone, name) is not None:
        raise Conflict(f"there is a volume named {name} already", field="name")


def _mib(ask: VolumeIn, offering: DiskOffering, version: ImageVersion | None) -> int:
    if offering.mib and ask.mib not in (None, offering.mib):
        raise BadInput(f"disks of {offering.name} have {offering.mib} MiB", field="mib")
    least = -(-version.virtual_bytes // MIB) if version else 0
    mib = offering.mib or ask.mib or least
    if not mib:
        raise BadInput(f"say how large: {offering.name} leaves it to you", field="mib")
    if mib < least:
        raise BadInput(f"the image's disk has {least} MiB", field="mib")
    return mib


def _replicas(call: Call, found: Sequence[Volume]) -> dict[VolumeId, Replica]:
    """Of these volumes those that are their own."""
    with_one = [volume.id for volume in found if volume.replica]
    rows = volume_replicas.of_volumes(call.tx, with_one) if with_one else []
    return {row.volume: row for row in rows if row.id == row.there}


def shape(call: Call, volume: Volume, replica: Replica | None = None) -> VolumeOut:
    """As it looks outside."""
    infra = Permission.INFRA_READ in call.caller.permissions
    return VolumeOut(
        id=volume.id,
        account=volume.account,
        zone=volume.zone,
        state=volume.state.value,
        machine=volume.machine,
        position=volume.position,
        name=volume.name,
        mib=volume.mib,
        iops=volume.iops,
        bytes_per_second=volume.bytes_per_second,
        shared=volume.shared,
        stays=volume.stays,
        replicated=volume.replicated,
        replicated_at=replica.point_at if replica else None,
        replica_pool=replica.target if replica and infra else None,
        replica_told=_why_not(volume, replica) if infra else "",
        placed=volume.pool is not None,
        pool=volume.pool if infra else None,
        operation=volume.operation,
        share="read-only" if volume.read_only else "none",
        view_of=volume.view_of,
        storage_zone=volume.storage_zone,
        told=volume.told,
        copied_from=volume.copied_from,
        erasing=volume.erasing,
        generation=volume.generation,
        created_at=volume.created_at,
    )


def _why_not(volume: Volume, replica: Replica | None) -> str:
    """Why its replica is not as it should be, for operators."""
    if not volume.replicated or volume.pool is None:
        return ""
    if replica is None:
        return "it waits for room in a pool of another storage host of its pod"
    return replica.told
