"""Having a volume carried to another storage pool while nobody has it: an operator's business. While its machine runs, see
`shifting.py`.

What is wished is told to both pools' hosts, and what the new one says ends it (`controllers/carries.py`). Room there is taken
in the transaction that accepts it (rule 2); where the volume was, its room is free when it is erased there.

Machines are held before volumes, these before what is on its way, and hosts after all.
"""

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict, NoRoom, NotFound
from arable.domain.host import Host, HostState
from arable.domain.ids import HostId, VolumeId, ZoneId
from arable.domain.machine import Machine, MachineState, MachineWish
from arable.domain.operation import Operation
from arable.domain.pool import SHARED, Pool
from arable.domain.replica import ReplicaState
from arable.domain.snapshot import SnapshotState
from arable.domain.units import Size
from arable.domain.volume import Volume, VolumeState
from arable.services import shifting
from arable.services.asks import begin, check_expected, under_way
from arable.services.attachments import machine_of
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.setting_out import set_out
from arable.services.volumes import check_unread
from arable.store import (
    bringing,
    carries,
    carry_ends,
    carry_wishes,
    copying,
    hosts,
    pools,
    reservations,
    snapshots,
    volume_replicas,
    volumes,
    wishes,
)
from arable.wire.operations import OperationOut
from arable.wire.volumes import MigrateVolumeIn

_OFF = (MachineState.STOPPED, MachineState.ERROR)


def migrate(call: Call, volume: VolumeId, ask: MigrateVolumeIn) -> OperationOut:
    """Done when it is in the other pool. With a machine that runs, all disks of that one go."""
    call.caller.needs(Permission.INFRA_WRITE)
    seen = volumes.get(call.tx, call.caller.scope, volume)
    machine = machine_of(call, seen.machine) if seen.machine else None
    found = _held(call, volume)
    if found.machine != seen.machine:
        raise Conflict(f"{found.name} went to another machine meanwhile; ask again")
    target = _pool(call, found.zone, ask.pool)
    before = carries.of(call.tx, volume)
    if before and before.going:
        if before.target != target.id:
            raise Conflict(f"{found.name} is on its way to another pool; cancel that first")
        return shown(under_way(call, before.operation))
    if found.pool == target.id:
        return shown(begin(call, "volume.migrate", volume, found.account, done=True))
    if before:
        raise Conflict(
            f"what is left of {found.name} where it was before is still being erased; ask again when it is"
        )
    source = _source(call, found)
    if machine is not None and shifting.runs(machine):
        return shown(shifting.begin_shift(call, machine, found, source, target))
    _check_rest(call, found, machine)
    mib = found.mib + _with_snapshots(call, found)
    host = _fits(call, found, machine, target)
    _check_replicas(call, found, host)
    if reservations.take(call.tx, {host.id: (Size(disk_mib=mib), 0)}):
        full = hosts.get(call.tx, host.id).disk_full
        why = "it is full" if full else f"there is no room for {mib} MiB"
        raise NoRoom(f"{target.name} does not take {found.name}: {why}", field="pool")
    return shown(_begin(call, found, source, target, mib))


def cancel(call: Call, volume: VolumeId) -> OperationOut:
    """It stays where it is, unless it has arrived by then."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = _held(call, volume)
    row = carries.of(call.tx, volume)
    if row is None or not row.going:
        raise Conflict(f"{found.name} is not on its way to another pool")
    if row.machine:
        shifting.cancel(call, row.machine)
        return shown(begin(call, "volume.cancel-migration", volume, found.account, done=True))
    error = Conflict("superseded: it was called off before it was done")
    carry_ends.stop(call.tx, row, call.around.clock.now(), error)
    return shown(begin(call, "volume.cancel-migration", volume, found.account, done=True))


def _begin(call: Call, volume: Volume, source: Pool, target: Pool, mib: int) -> Operation:
    operation, row, after = set_out(call, volume, source, target, mib)
    wishes.put(call.tx, carry_wishes.items(call.tx, row, after))
    return operation


def _held(call: Call, id_: VolumeId) -> Volume:
    """Held until the end of the transaction."""
    found = volumes.get(call.tx, call.caller.scope, id_, lock=True)
    check_expected(call, found.generation, "volume")
    return found


def _pool(call: Call, zone: ZoneId, ref: str) -> Pool:
    found = pools.named(call.tx, zone, ref)
    if not found:
        raise NotFound("there is no such storage pool in the volume's zone", field="pool")
    if len(found) > 1:
        raise BadInput("there are several of that name: say the id", field="pool")
    return found[0]


def _source(call: Call, volume: Volume) -> Pool:
    if volume.view_of is not None:
        raise Conflict(f"this is how a machine reads {volume.view_of}; it goes where that is")
    if volume.pool is None:
        raise Conflict(
            f"{volume.name or volume.id} is on no storage pool yet, so there is nothing to carry:"
            " it is placed with its first machine"
        )
    return pools.get(call.tx, volume.pool)


def _check_rest(call: Call, volume: Volume, machine: Machine | None) -> None:
    """Raises `Conflict` while anything may write to it, or is under way with it."""
    name = volume.name or volume.id
    if machine is not None and (
        machine.state not in _OFF or machine.wish is not MachineWish.STOPPED
    ):
        raise Conflict(
            f"{machine.name}, which has {name}, is {machine.state}: a volume is carried while its machine runs, or while"
            f" nothing runs with it. Wait until {machine.name} runs or is off"
        )
    if volume.state not in (VolumeState.AVAILABLE, VolumeState.ATTACHED):
        raise Conflict(f"{name} is {volume.state}; wait until that is over")
    check_unread(call, volume)
    if machine is not None:
        disks = volumes.of_machines(call.tx, [machine.id]).get(machine.id, [])
        if others := [d.name or d.id for d in disks if d.id != volume.id and d.pool]:
            raise Conflict(
                f"all disks of {machine.name} are in one pool: detach {', '.join(others)} first, carry each,"
                " and attach them again"
            )
    if copying.of_volume(call.tx, volume.id):
        raise Conflict(f"a volume is being made of a snapshot of {name}; wait until that is over")


def _with_snapshots(call: Call, volume: Volume) -> int:
    """How many MiB its snapshots count, which go along. Raises `Conflict` while something is under way with one."""
    there = snapshots.of_volumes(call.tx, [volume.id])
    for snapshot in there:
        if snapshot.state != SnapshotState.AVAILABLE:
            raise Conflict(
                f"its snapshot {snapshot.name} is {snapshot.state}; wait until that is over"
            )
        if image := bringing.image_of(call.tx, snapshot.id):
            raise Conflict(
                f"the image {image} is being made of {snapshot.name}; wait until that is over"
            )
    return sum(snapshot.mib for snapshot in there)


def _check_replicas(call: Call, volume: Volume, host: Host) -> None:
    """Raises `Conflict` where its replica is, or what is left of one: there is one file of a volume in a pool."""
    for row in volume_replicas.of_volumes(call.tx, [volume.id]):
        if row.state == ReplicaState.PROMOTED:
            raise Conflict(
                f"{volume.name or volume.id} is just being brought back from its replica"
            )
        if row.held_by == host.id:
            what = "its replica" if row.state == ReplicaState.FOLLOWING else "what is left of it"
            raise Conflict(f"{what} is in {host.name}'s pool; choose another one", field="pool")


def _fits(call: Call, volume: Volume, machine: Machine | None, target: Pool) -> Host:
    """The pool's host, if the volume, and its machine, can ever be there."""
    if (target.kind in SHARED) != volume.shared:
        kinds = {True: "shared", False: "local"}
        raise BadInput(
            f"{volume.name or volume.id} is {kinds[volume.shared]} by its offering, and {target.name} is"
            f" {kinds[not volume.shared]}: choose a pool of its kind",
            field="pool",
        )
    host = hosts.get(call.tx, HostId(target.host or ""))
    if host.state is not HostState.UP or host.maintenance or host.removing:
        state = (
            "in maintenance"
            if host.maintenance
            else "being removed"
            if host.removing
            else host.state
        )
        raise Conflict(f"{host.name}, whose pool it is, is {state}", field="pool")
    if not volume.shared and "compute" not in host.roles:
        raise Conflict(
            f"{host.name} runs no machines, which alone reach its local disks", field="pool"
        )
    required = {*volume.tags, *(machine.placement.required if machine else ())}
    lacking = sorted(required - {*host.tags})
    if lacking and not volume.shared:
        raise Conflict(
            f"{host.name} lacks {', '.join(lacking)}, which the volume's offering or its machine asks for",
            field="pool",
        )
    return host
