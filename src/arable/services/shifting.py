"""Having all disks of a machine that runs go to another storage pool (docs/decisions/0055).

What can be known to be impossible is refused at once. `controllers/moving.py` has it done, as a move of the machine by which it
stays where it is: so while its disks are on their way nothing else is told about it, and it has one way of being taken back.
"""

from arable.domain.errors import BadInput, Conflict, NoRoom
from arable.domain.host import HostState
from arable.domain.ids import HostId, MachineId, VolumeId
from arable.domain.machine import Machine, MachineState, MachineWish
from arable.domain.move import MoveStage, MoveWhy
from arable.domain.operation import Operation
from arable.domain.pool import ISCSI, NBD, Pool
from arable.domain.units import Size
from arable.domain.volume import Volume, VolumeState
from arable.services.call import Call
from arable.services.setting_out import set_out
from arable.store import (
    carries,
    copying,
    hosts,
    moves,
    reservations,
    snapshots,
    volume_replicas,
    volumes,
)
from arable.store.nudges import nudge

FROM, TO = (NBD, ISCSI), (NBD,)
"""The kinds of pools between which disks go while their machine runs.

Not to iSCSI: QEMU waits for a target that is lost, and may hold up a guest whose own disks are whole. Not from or to
files: what is open there can't be taken from who has it (docs/decisions/0061).
"""


def runs(machine: Machine) -> bool:
    """Whether it runs, and is to."""
    return machine.state is MachineState.RUNNING and machine.wish is MachineWish.RUNNING


def begin_shift(
    call: Call, machine: Machine, volume: Volume, source: Pool, target: Pool
) -> Operation:
    """All its disks are to be there; the operation of that volume. The machine and the volume are held."""
    before = moves.of(call.tx, [machine.id]).get(machine.id)
    if before and before.stage != MoveStage.OVER:
        raise Conflict(f"{machine.name} is on its way to another host; ask again when it is there")
    disks = [
        volumes.get(call.tx, call.caller.scope, disk.id, lock=True)
        for disk in volumes.of_machines(call.tx, [machine.id]).get(machine.id, [])
    ]
    _check_pools(call, machine, volume, source, target)
    for disk in disks:
        _check_disk(call, machine, disk, source)
    assert target.host is not None
    mib = sum(disk.mib for disk in disks)
    if reservations.take(call.tx, {target.host: (Size(disk_mib=mib), 0)}):
        full = hosts.get(call.tx, target.host).disk_full
        why = "it is full" if full else f"there is no room for {mib} MiB"
        raise NoRoom(
            f"{target.name} does not take the disks of {machine.name}: {why}", field="pool"
        )
    how = f", while {machine.name} runs"
    begun = {
        disk.id: set_out(call, disk, source, target, disk.mib, machine=machine.id, how=how)[0]
        for disk in disks
    }
    assert machine.host is not None
    wanted = moves.begun(
        machine=machine.id,
        source=machine.host,
        why=MoveWhy.STORAGE,
        at=call.around.clock.now(),
        wanted=target.host,
        pool=target.id,
        address=target.address,
        before=before,
    )
    moves.put(call.tx, [wanted])
    nudge(call.tx, moves.TOPIC)
    return begun[volume.id]


def cancel(call: Call, machine: MachineId) -> None:
    """They stay where they are, unless they are there by then."""
    moves.cancel(call.tx, [machine])
    nudge(call.tx, moves.TOPIC)


def _check_pools(call: Call, machine: Machine, volume: Volume, source: Pool, target: Pool) -> None:
    for pool, kinds in ((source, FROM), (target, TO)):
        if pool.kind not in kinds:
            raise Conflict(
                f"{machine.name} runs, and disks of a machine that runs go from a pool of the kind nbd or iscsi to one of"
                f" the kind nbd only; {pool.name} is {pool.kind}. Stop {machine.name}, or detach {volume.name or volume.id} if it is not its first disk",
                field="pool",
            )
    host = hosts.get(call.tx, HostId(target.host or ""))
    if host.state is not HostState.UP or host.maintenance or host.removing or not target.address:
        state = "in maintenance" if host.maintenance or host.removing else host.state
        raise Conflict(f"{host.name}, whose pool it is, is {state}", field="pool")
    assert machine.host is not None
    if host.pod != hosts.get(call.tx, machine.host).pod:
        raise BadInput(
            f"{target.name} is in another pod than {machine.name}, whose host does not reach it; stop {machine.name} first",
            field="pool",
        )


def _check_disk(call: Call, machine: Machine, disk: Volume, source: Pool) -> None:
    """Raises `Conflict` for one that can't go along, and says what to do."""
    name = disk.name or disk.id
    if disk.view_of is not None:
        raise Conflict(
            f"{machine.name} reads {name}, which others may read as well; detach it first"
        )
    if disk.pool != source.id:
        raise Conflict(f"{name} of {machine.name} is in another pool than its other disks")
    if disk.state is not VolumeState.ATTACHED:
        raise Conflict(f"{name} of {machine.name} is {disk.state}; wait until that is over")
    if carries.of(call.tx, disk.id):
        raise Conflict(
            f"what is left of {name} where it was before is still being erased; ask again when it is"
        )
    if count := len(snapshots.of_volumes(call.tx, [disk.id])):
        raise Conflict(
            f"{name} of {machine.name} has {count} snapshots, which are in its file and don't go along while it runs:"
            f" delete them, or stop {machine.name} first: then they do"
        )
    if copying.of_volume(call.tx, disk.id):
        raise Conflict(f"a volume is being made of a snapshot of {name}; wait until that is over")
    if disk.replicated or volume_replicas.of_volumes(call.tx, [VolumeId(disk.id)]):
        raise Conflict(
            f"{name} of {machine.name} has a replica, which follows the file that it has now: stop {machine.name} first"
        )
