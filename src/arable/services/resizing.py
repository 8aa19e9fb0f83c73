"""Volumes that grow.

What a volume has more counts against its account's limits, and is taken from its pool, in the transaction that accepts it
(rule 2): what is refused took nothing. One that is of no machine, or of one that is off, has its new size by its row
alone, and is made so large before anything starts with it. The guest of a machine that runs is told like of everything
else, and what its host says ends the operation (`controllers/attachments.py`).

Nothing shrinks: what is beyond the new end would be lost, and only the guest knows what is there.
"""

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict, NoRoom
from arable.domain.ids import VolumeId
from arable.domain.machine import LIVING, Machine
from arable.domain.units import Size
from arable.domain.volume import OFF, Change, Volume, VolumeState
from arable.services.asks import begin, tell, under_way
from arable.services.attachments import check_still, machine_of, supersede, wake
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.volumes import held
from arable.store import attachments, copying, hosts, quotas, reservations, volumes
from arable.wire.operations import OperationOut
from arable.wire.volumes import ResizeVolumeIn


def resize(call: Call, volume: VolumeId, ask: ResizeVolumeIn) -> OperationOut:
    """Done when whoever uses it sees the new size: at once if nothing runs with it."""
    call.caller.needs(Permission.VOLUME_WRITE)
    seen = volumes.get(call.tx, call.caller.scope, volume)
    if seen.machine:
        call.caller.needs(Permission.MACHINE_WRITE)
    more = ask.mib - seen.mib
    if more > 0:  # limits are held before machines and volumes, as making one does
        quotas.take(call.tx, seen.account, storage_mib=more)
    machine = machine_of(call, seen.machine) if seen.machine else None
    found = held(call, volume)
    if (found.machine, found.mib) != (seen.machine, seen.mib):
        raise Conflict(f"{found.name} was changed meanwhile; ask again")
    if more < 0:
        raise BadInput(
            f"{found.name} has {found.mib} MiB, and volumes only grow; "
            "make a smaller one and copy what is on it",
            field="mib",
        )
    check_rest(found, machine, VolumeState.RESIZING)
    if found.read_only:
        raise Conflict(f"{found.name} is shared read-only: it stays as it is")
    if not more:
        if found.change is Change.RESIZE and found.operation:
            return shown(under_way(call, found.operation))
        return shown(begin(call, "volume.resize", volume, found.account, done=True))
    if copying.of_volume(call.tx, volume):
        raise Conflict(
            f"a volume is being made of a snapshot of {found.name}; wait until that is over"
        )
    runs = guest_runs(call, machine)
    _take(call, found, more)
    operation = begin(call, "volume.resize", volume, found.account, done=not runs)
    supersede(call, found, operation)
    volumes.resave(
        call.tx,
        found.changed(
            mib=ask.mib,
            change=Change.RESIZE if runs else Change.NONE,
            operation=operation.id if runs else None,
            told="",
        ),
        call.around.clock.now(),
    )
    if runs and machine:
        wake(call, machine)
    kind, text = ("volume.resizing", "is growing") if runs else ("volume.resized", "has grown")
    size = f"from {found.mib} to {ask.mib} MiB"
    tell(call, found.account, kind, volume, f"{found.name}: {text} {size}")
    return shown(operation)


def check_rest(volume: Volume, machine: Machine | None, but: VolumeState) -> None:
    """Raises `Conflict` while anything is under way but the same, and for what only shows another volume."""
    if volume.view_of is not None:
        raise Conflict(
            f"this is how a machine reads {volume.view_of}, and as large and fast as that"
        )
    if volume.state not in (VolumeState.AVAILABLE, VolumeState.ATTACHED, but):
        raise Conflict(f"{volume.name} is {volume.state}; wait until that is over")
    if machine and machine.wish not in LIVING:
        raise Conflict(f"{machine.name} is on its way out ({machine.state})")


def guest_runs(call: Call, machine: Machine | None) -> bool:
    """Whether a guest has to be told. Raises `Conflict` while the machine is on its way somewhere."""
    if machine is None or machine.state in OFF:
        return False
    check_still(call, machine)
    return True


def _take(call: Call, volume: Volume, more: int) -> None:
    """Room where it is. One that is nowhere yet takes it with its first machine."""
    if volume.pool is None:
        return
    host = attachments.pool_host(call.tx, volume.pool)
    assert host, "pools of volumes are hosts' own"
    if reservations.take(call.tx, {host: (Size(disk_mib=more), 0)}):
        if hosts.get(call.tx, host).disk_full:
            raise NoRoom(
                f"the storage where {volume.name} is is full, and nothing there can grow;"
                " wait until its operator has made room"
            )
        raise NoRoom(
            f"there is no room for {more} MiB more where {volume.name} is; "
            "delete what is not needed there, or ask an operator"
        )
