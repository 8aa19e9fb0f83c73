"""Giving volumes to machines and taking them back.

A machine that is off has or has not a volume by its row alone. One that runs is told of it like of everything else: the
wish is stored here, and what its host says of the guest ends the operation (`controllers/attachments.py`). Whatever can
be known to be impossible is refused at once; room is taken in this very transaction (rule 2).

Machines are held before their volumes, and hosts after both.
"""

from dataclasses import replace

from arable.domain.access import Permission
from arable.domain.errors import BadInput, CloudError, Conflict, NoRoom, NotFound
from arable.domain.ids import HostId, MachineId, PoolId, StorageZoneId, VolumeId
from arable.domain.machine import LIVING, Machine, MachineState, MachineWish
from arable.domain.move import MoveStage
from arable.domain.offering import StorageKind
from arable.domain.operation import Operation
from arable.domain.units import Size
from arable.domain.volume import LEAVING, MOST_OF_A_MACHINE, OFF, Change, Volume, VolumeState
from arable.services import belonging, sharing
from arable.services.asks import MACHINES, begin, tell, under_way
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.volumes import check_free, held
from arable.store import (
    attachments,
    farms,
    hosts,
    machines,
    moves,
    operations,
    quotas,
    reservations,
    volumes,
)
from arable.store.columns import micros
from arable.store.nudges import nudge
from arable.wire.operations import OperationOut
from arable.wire.volumes import AttachVolumeIn, DetachVolumeIn

_AS_IT_IS = {
    Change.RESIZE: "volume.resize",
    Change.LIMIT: "volume.limit",
    Change.RESTORE: "snapshot.restore",
    Change.MIGRATE: "volume.migrate",
}
"""Changes of volumes that are their machines' and stay so, and the operations that wait for them."""


def attach(call: Call, volume: VolumeId, ask: AttachVolumeIn) -> OperationOut:
    """Done when the machine has it: at once if that is off, else when its guest sees the disk."""
    call.caller.needs(Permission.MACHINE_WRITE)
    seen = volumes.get(call.tx, call.caller.scope, volume)
    if seen.read_only and seen.machine is None:  # limits are held before machines
        quotas.take(call.tx, seen.account, volumes=1)
    machine = machine_of(call, MachineId(ask.machine))
    if machine.account != seen.account:
        raise NotFound("there is no such machine", field="machine")
    found = held(call, volume)
    belonging.check_free(call, volume)
    if found.machine == machine.id and found.change not in LEAVING:
        return shown(_same(call, found, "volume.attach"))
    if found.state is not VolumeState.AVAILABLE:
        raise Conflict(f"{found.name} is {found.state}; detach it first")
    reaches = farms.reaches(call.tx, [machine.farm])[machine.farm]
    if found.storage_zone not in (None, reaches):
        raise Conflict(
            f"{found.name} is in another storage zone than the farm of {machine.name};"
            " take it out of that first (`arable volume update --storage-zone`)",
            field="machine",
        )
    if found.read_only != seen.read_only:
        raise Conflict(f"{found.name} was changed meanwhile; ask again")
    runs = _runs(machine)
    disks = volumes.of_machines(call.tx, [machine.id]).get(machine.id, [])
    there = next((disk for disk in disks if disk.view_of == found.id), None)
    if there is not None:
        quotas.give(call.tx, found.account, volumes=1)
        if there.change in LEAVING:
            raise Conflict(f"{found.name} is being detached from {machine.name}; wait until it is")
        return shown(_same(call, there, "volume.attach"))
    _check_fits(call, machine, disks, found)
    if found.read_only:
        return shown(_show(call, found, machine, disks, reaches, runs=runs))
    pool = _place(call, machine, disks, found) if runs else found.pool
    if found.pool is None:
        machine = _with_tags(call, machine, found)
    operation = begin(call, "volume.attach", volume, found.account, done=not runs)
    volumes.save(
        call.tx,
        found.within(
            reaches,
            micros(call.around.clock.now()),
            machine=machine.id,
            position=_free_position(disks),
            pool=pool,
            change=Change.ATTACH if runs else Change.NONE,
            operation=operation.id if runs else None,
            told="",
        ),
    )
    if runs:
        wake(call, machine)
    text = "is being attached to" if runs else "attached to"
    kind = "volume.attaching" if runs else "volume.attached"
    tell(call, found.account, kind, volume, f"{found.name}: {text} {machine.name}")
    return shown(operation)


def _show(
    call: Call,
    volume: Volume,
    machine: Machine,
    disks: list[Volume],
    reaches: StorageZoneId,
    *,
    runs: bool,
) -> Operation:
    """The machine has a view of it: one of many."""
    if volume.storage_zone is None:
        volume = volume.within(reaches, micros(call.around.clock.now()))
        volumes.save(call.tx, volume)
    change = Change.ATTACH if runs else Change.NONE
    made = sharing.view(call, volume, machine, _free_position(disks), change)
    operation = begin(call, "volume.attach", made.id, volume.account, done=not runs)
    volumes.add(call.tx, replace(made, operation=operation.id if runs else None))
    if runs:
        wake(call, machine)
    kind = "volume.attaching" if runs else "volume.attached"
    tell(call, volume.account, kind, volume.id, f"{volume.name}: is read by {machine.name}")
    return operation


def detach(call: Call, volume: VolumeId, ask: DetachVolumeIn) -> OperationOut:
    """Done when the machine has let go of it, and can't reach it any more."""
    call.caller.needs(Permission.MACHINE_WRITE)
    seen = volumes.get(call.tx, call.caller.scope, volume)
    if seen.read_only and (ask.machine or seen.machine is None):
        seen = sharing.of_machine(call, seen, ask.machine)
        volume = seen.id
    machine = machine_of(call, seen.machine) if seen.machine else None
    found = held(call, volume)
    belonging.check_free(call, volume)
    if found.machine != seen.machine:
        raise Conflict(f"{found.name} went to another machine meanwhile; ask again")
    if machine is None:
        if found.erasing:
            raise Conflict(f"{found.name} is being erased")
        return shown(begin(call, "volume.detach", volume, found.account, done=True))
    if ask.force and not found.shared:
        raise BadInput(
            f"{found.name} is on its machine's own host, so nobody else can cut it off; detach it without force, "
            "or stop the machine by force first",
            field="force",
        )
    _check_spared(call, machine, found)
    if not found.stays and found.view_of is None:
        check_free(call, found)
    if found.state is VolumeState.RESTORING:
        raise Conflict(f"{found.name} is being set back to a snapshot; wait until that is over")
    if found.state is VolumeState.MIGRATING:
        raise Conflict(
            f"{found.name} is being carried to another storage pool; wait until that is over"
        )
    if machine.state in OFF:
        if found.view_of is None:
            volumes.save(call.tx, found.alone())
        else:
            sharing.let_go(call, found)
        tell(
            call,
            found.account,
            "volume.detached",
            volume,
            f"{found.name}: detached from {machine.name}",
        )
        return shown(begin(call, "volume.detach", volume, found.account, done=True))
    check_still(call, machine)
    wanted = Change.CUT if ask.force else Change.DETACH
    if found.change in (wanted, Change.CUT):
        return shown(_same(call, found, "volume.detach"))
    operation = begin(call, "volume.detach", volume, found.account, done=False)
    supersede(call, found, operation)
    changed = found.changed(change=wanted, operation=operation.id, told="")
    volumes.save(call.tx, changed)
    wake(call, machine)
    text = f"{found.name}: is being detached from {machine.name}"
    tell(call, found.account, "volume.detaching", volume, text)
    return shown(operation)


def machine_of(call: Call, id_: MachineId) -> Machine:
    """Held until the end of the transaction. Which generation of the volume the caller saw is another matter."""
    try:
        return machines.get(call.tx, call.caller.scope, id_, lock=True)
    except NotFound as error:
        raise NotFound(error.public, field="machine") from error


def _same(call: Call, volume: Volume, kind: str) -> Operation:
    """What is so already is done; what is under way has its operation."""
    if volume.operation is not None and volume.change not in _AS_IT_IS:
        return under_way(call, volume.operation)
    return begin(call, kind, volume.id, volume.account, done=True)


def _runs(machine: Machine) -> bool:
    if machine.wish not in LIVING:
        raise Conflict(f"{machine.name} is on its way out ({machine.state})", field="machine")
    if machine.state in OFF:
        return False
    if machine.state is not MachineState.RUNNING or machine.wish is not MachineWish.RUNNING:
        raise Conflict(
            f"{machine.name} is {machine.state}; wait until it runs or is off", field="machine"
        )
    return True


def check_still(call: Call, machine: Machine) -> None:
    """Raises `Conflict` while the machine is on its way somewhere."""
    if machine.state is not MachineState.RUNNING:
        raise Conflict(f"{machine.name} is {machine.state}; wait until it runs or is off")
    move = moves.of(call.tx, [machine.id]).get(machine.id)
    if move and move.stage != MoveStage.OVER:
        raise Conflict(f"{machine.name} is on its way to another host; ask again when it is there")


def _check_spared(call: Call, machine: Machine, volume: Volume) -> None:
    disks = volumes.of_machines(call.tx, [machine.id])[machine.id]
    if volume.position == 0:
        raise Conflict(f"{volume.name} is the root disk of {machine.name}, and stays with it")
    if disks[0].id == volume.id:
        raise Conflict(
            f"{volume.name} is the first disk of {machine.name}, which starts with it; it stays with it"
        )


def _check_fits(call: Call, machine: Machine, disks: list[Volume], volume: Volume) -> None:
    """Whether the machine can ever have it, wherever that runs."""
    if machine.state not in OFF:
        check_still(call, machine)
    if volume.zone != machine.zone:
        raise Conflict(f"{volume.name} is in another zone than {machine.name}", field="machine")
    if not disks:
        raise Conflict(
            f"{machine.name} has no disk at all: it starts from memory alone", field="machine"
        )
    if len(disks) >= MOST_OF_A_MACHINE:
        raise Conflict(f"{machine.name} has {len(disks)} disks, and no more fit", field="machine")
    if disks[0].shared != volume.shared:
        kinds = {True: StorageKind.SHARED, False: StorageKind.LOCAL}
        raise Conflict(
            f"{volume.name} is {kinds[volume.shared]}, the disks of {machine.name} are {kinds[disks[0].shared]}:"
            " all disks of a machine are of one kind",
            field="machine",
        )
    held = next((disk.pool for disk in disks if disk.pool), None)
    if volume.pool and held and volume.pool != held:
        if volume.shared:
            raise Conflict(
                f"{volume.name} is in another pool than the disks of {machine.name}:"
                " all disks of a machine are in one",
                field="machine",
            )
        raise Conflict(
            f"{volume.name} is local to another host than {machine.name}: it was placed with its first machine,"
            " and a local volume stays on its host, unless an operator has it carried to another. A shared one can go anywhere"
            " in its pod",
            field="machine",
        )


def _place(call: Call, machine: Machine, disks: list[Volume], volume: Volume) -> PoolId:
    """The pool where it is, or will be, with room for it taken. The machine runs, so its other disks have one."""
    pool = next(disk.pool for disk in disks if disk.pool)
    if volume.pool is not None:
        return volume.pool
    host = attachments.pool_host(call.tx, pool)
    assert host, "pools of volumes are hosts' own"
    _check_tags(call, host, machine, volume)
    if reservations.take(call.tx, {host: (Size(disk_mib=volume.mib), 0)}):
        if hosts.get(call.tx, host).disk_full:
            raise NoRoom(
                f"the storage where the disks of {machine.name} are is full, and gets no further ones;"
                " attach it to another machine, or wait until its operator has made room"
            )
        raise NoRoom(
            f"there is no room for {volume.mib} MiB where the disks of {machine.name} are;"
            " stop other machines there, or attach it to another one"
        )
    return pool


def _check_tags(call: Call, host: HostId, machine: Machine, volume: Volume) -> None:
    lacking = {*volume.tags} - {*hosts.get(call.tx, host).tags}
    if lacking and not volume.shared:
        raise Conflict(
            f"{machine.name} runs where there are no disks of the kind {', '.join(sorted(lacking))};"
            " stop it, attach it then, and start it",
            field="machine",
        )


def _with_tags(call: Call, machine: Machine, volume: Volume) -> Machine:
    """What the volume asks of the host on which it is made counts for the machine that it is made with."""
    required = {*machine.placement.required, *volume.tags}
    if required == {*machine.placement.required}:
        return machine
    placement = replace(machine.placement, required=tuple(sorted(required)))
    changed = machine.changed(call.around.clock.now(), placement=placement)
    machines.save(call.tx, changed)
    return changed


def _free_position(disks: list[Volume]) -> int:
    taken = {disk.position for disk in disks}
    return next(place for place in range(1, MOST_OF_A_MACHINE + 2) if place not in taken)


def wake(call: Call, machine: Machine) -> None:
    machines.save(call.tx, machine.changed(call.around.clock.now(), attention=True))
    nudge(call.tx, MACHINES)


def supersede(call: Call, volume: Volume, by: Operation) -> None:
    """End the operation that waited for something else."""
    if volume.operation is None:
        return
    error: CloudError = Conflict(
        f"superseded: {by.kind} was asked for {volume.name} before this was done",
        why={"superseded_by": by.id, "volume": volume.id},
    )
    if by.kind != _AS_IT_IS.get(volume.change, by.kind):
        # It is so all the same: whoever has it next sees that.
        operations.settle_many(call.tx, {volume.operation: (1, None)}, call.around.clock.now())
        return
    if volume.change is Change.DETACH:  # the same, by force now: whoever waits for it has it soon
        error = Conflict(f"superseded: {volume.name} is being detached by force")
    operations.settle_many(call.tx, {volume.operation: (1, error)}, call.around.clock.now())
