"""How fast volumes may be, changed while they are used.

A local one is held back by its machine's hypervisor, and the guest's host says when that is so; a shared one by its
storage host, and then that host's word counts (docs/decisions/0007). One that nobody uses has its limits by its row.
"""

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import VolumeId
from arable.domain.offering import DiskOffering, StorageKind
from arable.domain.volume import Change, Volume, VolumeState
from arable.services.asks import begin, tell, under_way
from arable.services.attachments import machine_of, supersede, wake
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.references import References
from arable.services.resizing import check_rest, guest_runs
from arable.services.volumes import held
from arable.store import volumes
from arable.wire.operations import OperationOut
from arable.wire.volumes import LimitVolumeIn


def limit(call: Call, volume: VolumeId, ask: LimitVolumeIn) -> OperationOut:
    """Done when it is held back as is wished now: at once if nothing runs with it."""
    call.caller.needs(Permission.VOLUME_WRITE)
    seen = volumes.get(call.tx, call.caller.scope, volume)
    by_figures = ask.iops is not None or ask.bytes_per_second is not None
    if by_figures or (seen.machine and seen.position == 0):
        call.caller.needs(Permission.CATALOGUE_WRITE)
    if not by_figures and ask.offering is None:
        raise BadInput("say how fast: name a disk offering", field="offering")
    machine = None
    if seen.machine:
        call.caller.needs(Permission.MACHINE_WRITE)
        machine = machine_of(call, seen.machine)
    found = held(call, volume)
    if found.machine != seen.machine:
        raise Conflict(f"{found.name} went to another machine meanwhile; ask again")
    check_rest(found, machine, VolumeState.LIMITING)
    offering = None
    if ask.offering is not None:
        offering = References(call.tx).disk_offering(ask.offering, "offering")
        _check_fits(found, offering)
    wanted = _limits(found, offering, ask)
    if wanted == (found.iops, found.bytes_per_second):
        if found.change is Change.LIMIT and found.operation:
            return shown(under_way(call, found.operation))
        return shown(begin(call, "volume.limit", volume, found.account, done=True))
    runs = guest_runs(call, machine)
    operation = begin(call, "volume.limit", volume, found.account, done=not runs)
    supersede(call, found, operation)
    volumes.resave(
        call.tx,
        found.changed(
            offering=found.offering if offering is None else offering.id,
            iops=wanted[0],
            bytes_per_second=wanted[1],
            change=Change.LIMIT if runs else Change.NONE,
            operation=operation.id if runs else None,
            told="",
        ),
        call.around.clock.now(),
    )
    if runs and machine:
        wake(call, machine)
    kind, text = ("volume.limiting", "is to have") if runs else ("volume.limited", "has")
    figures = f"{_of(wanted[0], 'operations')} and {_of(wanted[1], 'bytes')}"
    tell(call, found.account, kind, volume, f"{found.name}: {text} {figures}")
    return shown(operation)


def _check_fits(volume: Volume, offering: DiskOffering) -> None:
    """Whether it could be a volume of that offering."""
    if volume.shared != (offering.storage is StorageKind.SHARED):
        kind = StorageKind.SHARED if volume.shared else StorageKind.LOCAL
        raise BadInput(
            f"{volume.name} is {kind}, disks of {offering.name} are not", field="offering"
        )
    if volume.replicated != offering.replicated:
        its, theirs = ("is", "are not") if volume.replicated else ("is not", "are")
        raise BadInput(
            f"{volume.name} {its} replicated, disks of {offering.name} {theirs}", field="offering"
        )
    if offering.mib not in (0, volume.mib):
        raise BadInput(
            f"disks of {offering.name} have {offering.mib} MiB, {volume.name} has {volume.mib}",
            field="offering",
        )
    if lacking := {*offering.tags} - {*volume.tags}:
        raise BadInput(
            f"disks of {offering.name} are of the kind {', '.join(sorted(lacking))}, "
            f"and {volume.name} was not made so",
            field="offering",
        )


def _limits(volume: Volume, offering: DiskOffering | None, ask: LimitVolumeIn) -> tuple[int, int]:
    usual = offering or volume
    iops = usual.iops if ask.iops is None else ask.iops
    rate = usual.bytes_per_second if ask.bytes_per_second is None else ask.bytes_per_second
    return iops, rate


def _of(most: int, what: str) -> str:
    return f"{most} {what} a second" if most else f"{what} without limit"
