"""Volumes that many machines read: each has a view, which is a disk of its own and no data of its own.

A view is a volume in every respect of coming and going: it has a machine, a place in it, a change that is under way, and
what was made for it is erased when it goes. What it shows belongs to the volume that it is a view of.
"""

from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import MachineId, VolumeId
from arable.domain.machine import Machine
from arable.domain.manifest import ItemKind, ScrapWish
from arable.domain.volume import Change, Volume
from arable.services.call import Call
from arable.store import attachments, quotas, volumes, wishes
from arable.store.rows import json_text


def view(call: Call, of: Volume, machine: Machine, position: int, change: Change) -> Volume:
    """A new one. It takes no room that would have to be reserved, and one volume of the account's limit."""
    return Volume(
        id=VolumeId(call.around.ids.new("volume")),
        account=of.account,
        zone=of.zone,
        machine=machine.id,
        pool=of.pool,
        position=position,
        name=f"{machine.name}-{of.name}"[:63],  # as other disks of machines
        mib=0,
        iops=of.iops,
        bytes_per_second=of.bytes_per_second,
        shared=of.shared,
        change=change,
        view_of=of.id,
        storage_zone=of.storage_zone,
        zoned=of.zoned,
        created_at=call.around.clock.now(),
    )


def of_machine(call: Call, volume: Volume, machine: str | None) -> Volume:
    """By which view a machine reads the volume. Raises `BadInput` when it does not, or none is named."""
    if machine is None:
        raise BadInput(f"many machines read {volume.name}: say from which", field="machine")
    disks = volumes.of_machines(call.tx, [MachineId(machine)]).get(MachineId(machine), [])
    found = next((disk for disk in disks if disk.view_of == volume.id), None)
    if found is None:
        raise Conflict(f"that machine does not have {volume.name}", field="machine")
    return found


def let_go(call: Call, gone: Volume) -> None:
    """A view that is no machine's any more: its host erases what was made for it."""
    if gone.pool is None:  # it was lost with its host
        volumes.remove(call.tx, [gone.id], call.around.clock.now())
        quotas.give(call.tx, gone.account, volumes=1)
        return
    host = attachments.pool_host(call.tx, gone.pool)
    assert host, "pools of volumes are hosts' own"
    volumes.save(call.tx, gone.let_go())
    scrap = json_text(ScrapWish(volume=gone.id, pool=gone.pool))
    wishes.put(call.tx, [wishes.Item(host, ItemKind.SCRAP, gone.id, scrap)])
