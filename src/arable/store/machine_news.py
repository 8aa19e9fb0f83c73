"""What has to be known elsewhere of machines that changed: whoever writes their states says so here, and nowhere else."""

from collections.abc import Sequence
from datetime import datetime

from arable.domain.ids import MachineId, VolumeId
from arable.store import tier_notes, usage_records
from arable.store.database import Tx


def changed(tx: Tx, states: Sequence[tuple[MachineId, str, int]]) -> None:
    """Machines have these states from these moments (in microseconds) on."""
    usage_records.machines_change(tx, states)
    tier_notes.of_machines(tx, [(id_, state) for id_, state, _ in states])


def gone(tx: Tx, ids: Sequence[MachineId], volumes: Sequence[VolumeId], at: datetime) -> None:
    """Nothing of these is left."""
    usage_records.machines_gone(tx, ids, volumes, at)
    tier_notes.of_machines(tx, [(id_, "gone") for id_ in ids])
