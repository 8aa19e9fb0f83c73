"""What one may ask of volumes."""

from arable.domain.access import Permission
from arable.domain.ids import AccountId, MachineId, VolumeId, ZoneId
from arable.domain.volume import Volume
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import volumes
from arable.wire.common import Page
from arable.wire.volumes import VolumeOut, VolumeQuery


def page(call: Call, query: VolumeQuery) -> Page[VolumeOut]:
    """Volumes in sight, by age."""
    call.caller.needs(Permission.VOLUME_READ)
    where = volumes.VolumeFilter(
        account=AccountId(query.account) if query.account else None,
        zone=ZoneId(query.zone) if query.zone else None,
        machine=MachineId(query.machine) if query.machine else None,
    )
    found = volumes.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    return paged(found, query, lambda volume: _shape(call, volume))


def get(call: Call, volume: VolumeId) -> VolumeOut:
    """One."""
    call.caller.needs(Permission.VOLUME_READ)
    return _shape(call, volumes.get(call.tx, call.caller.scope, volume))


def _shape(call: Call, volume: Volume) -> VolumeOut:
    infra = Permission.INFRA_READ in call.caller.permissions
    return VolumeOut(
        id=volume.id,
        account=volume.account,
        zone=volume.zone,
        machine=volume.machine,
        position=volume.position,
        name=volume.name,
        mib=volume.mib,
        iops=volume.iops,
        bytes_per_second=volume.bytes_per_second,
        shared=volume.shared,
        placed=volume.pool is not None,
        pool=volume.pool if infra else None,
        erasing=volume.erasing,
        generation=volume.generation,
        created_at=volume.created_at,
    )
