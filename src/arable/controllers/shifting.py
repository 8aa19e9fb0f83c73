"""Disks of machines that run, on their way to another storage pool (docs/decisions/0055): what is different from a move.

Here the machine stays. What says where its disks are is the word of the storage host that has them, and its host's, which
says that it goes on only after it has heard that one. One transaction writes it down: the disks' pool is the other one, their
room where they were is held until they are erased there, and so it is with the copies when they stay.
"""

from collections.abc import Sequence
from datetime import datetime

from arable.domain.errors import CloudError
from arable.domain.host import HostState
from arable.domain.ids import HostId
from arable.domain.machine import MachineState
from arable.domain.manifest import ExportState, ItemKind
from arable.domain.move import MoveStage
from arable.domain.units import MIB
from arable.domain.volume import Change
from arable.store import carries, carry_ends, exports
from arable.store import wishes as manifests
from arable.store.attention import MachineRow, VolumeRow
from arable.store.carries import Carry
from arable.store.database import Tx
from arable.store.exports import ExportRow
from arable.store.moves import MoveRow


def unfit(row: MachineRow, move: MoveRow, volumes: Sequence[VolumeRow]) -> str:
    """Why they can't set out, ever."""
    if row.state != MachineState.RUNNING:
        return f"it is {row.state}"
    if row.host != move.source:
        return "it went to another host meanwhile"
    if any(v.change != Change.MIGRATE or not v.address for v in volumes):
        return "its disks are not what they were"
    return ""


def ready(row: MachineRow, export: ExportRow | None, up: bool) -> bool:
    """Whether they can set out now."""
    held = export is not None and (export.state, export.epoch, export.holder) == (
        ExportState.HELD,
        row.epoch,
        row.host,
    )
    return held and up and not row.attention


def stage_seconds(move: MoveRow, seconds: float) -> float:
    """How long nothing has been heard of it in this stage: what is copied takes as long as it takes."""
    return 0.0 if move.stage == MoveStage.PREPARING and move.sent_bytes else seconds


def arrived(move: MoveRow, export: ExportRow | None) -> bool:
    """Whether they are there and nowhere else."""
    given = export is not None and move.epoch > 0 and export.away == move.epoch
    return move.bound and (given or bool(move.offered))


def target_state(machine: HostState | None, storage: HostState | None) -> HostState | None:
    """Of all that has to be there for it."""
    return machine if machine is not HostState.UP else storage


def tell(tx: Tx, rows: Sequence[Carry], move: MoveRow) -> None:
    """How far each is: they are copied together."""
    whole = sum(row.mib for row in rows)
    sent, all_of = move.sent_bytes // MIB, (move.sent_bytes + move.left_bytes) // MIB
    for row in rows:
        told = f"{sent} of {all_of} MiB are copied" if all_of else ""
        copied = min(row.mib, sent * row.mib // max(1, whole))
        if (told, copied) != (row.told, row.copied_mib):
            carries.tell(tx, row, told, copied)


def arrive(
    tx: Tx, row: MachineRow, move: MoveRow, rows: Sequence[Carry], at: datetime
) -> list[manifests.Item]:
    """They are in the other pool; what hosts are to be told besides that the machine wants attention."""
    left = {each.source_host for each in rows if each.source_host}
    for each in rows:
        carry_ends.arrive(tx, each, at)
    exports.forget(tx, [(host, row.id) for host in left])
    return [_nobody(host, row) for host in sorted(left - {move.wanted})]


def stay(
    tx: Tx, row: MachineRow, move: MoveRow, rows: Sequence[Carry], at: datetime, why: CloudError
) -> list[manifests.Item]:
    """They are where they were, for sure; the copies go."""
    for each in rows:
        carry_ends.stop(tx, each, at, why)
    return [_nobody(move.wanted, row)] if move.wanted else []


def drop(tx: Tx, rows: Sequence[Carry], at: datetime, why: CloudError) -> None:
    """No host was told of it."""
    for each in rows:
        carry_ends.stop(tx, each, at, why)


def _nobody(host: HostId, row: MachineRow) -> manifests.Item:
    return manifests.Item(host, ItemKind.EXPORT, row.id, None)
