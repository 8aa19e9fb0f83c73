"""The right to run machines with shared disks, as storage hosts tell of it (docs/decisions/0007)."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from arable.controllers import wishes
from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import ExportSeen, ExportState, HostReport
from arable.store import attention, exports, incarnations
from arable.store import wishes as manifests
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.nudges import nudge

log = logging.getLogger(__name__)

_COLUMNS = ("epoch", "fenced", "attention", "generation", "changed_at")


def keep(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """What storage hosts say; and where this database is behind them, since it is an older copy, it follows."""
    seen = [(report.host, export) for report in reports for export in report.exports]
    gone = [(report.host, machine) for report in reports for machine in report.exports_gone]
    if seen:
        exports.keep(tx, seen)
        _follow(tx, {export.machine: export for _, export in seen}, at)
    if gone:
        exports.forget(tx, gone)


def leave(tx: Tx, left: Mapping[MachineId, HostId]) -> list[manifests.Item]:
    """These machines have no business on these hosts any more: what is to be told of their disks."""
    if not left:
        return []
    volumes, pools = attention.volumes(tx, left), attention.local_pools(tx, left.values())
    return [
        item
        for machine, host in left.items()
        for item in wishes.leaves(machine, host, pools.get(host), volumes.get(machine, []))
    ]


def _follow(tx: Tx, seen: Mapping[MachineId, ExportSeen], at: datetime) -> None:
    behind = [
        id_
        for id_, epoch in exports.epochs(tx, seen)
        if max(seen[id_].epoch, seen[id_].highest) > epoch
    ]
    if not behind:  # as ever, but after a restored copy: then nobody's row is locked
        return
    stock = incarnations.taking_stock(tx)
    changed = []
    for row in attention.machines_by_id(tx, behind).values():
        epoch = _epoch(row, seen[row.id], stock=stock)
        if epoch != row.epoch:
            log.warning("the lease of %s is at epoch %d, not %d", row.id, epoch, row.epoch)
            changed.append(
                {
                    "id": row.id,
                    "epoch": epoch,
                    "fenced": None,
                    "attention": True,
                    "generation": row.generation + 1,
                    "changed_at": attention.stamp(at),
                }
            )
    attention.change_machines(tx, _COLUMNS, changed)
    if changed:
        nudge(tx, "machines")


def _epoch(row: MachineRow, seen: ExportSeen, *, stock: bool) -> int:
    """The epoch of what runs, where that is a later one than ours; and one above all, where ours is refused."""
    epoch = row.epoch
    if seen.state is ExportState.HELD and seen.epoch > epoch:
        epoch = seen.epoch
    refused = seen.generation == 0 and seen.highest > epoch
    return seen.highest + 1 if refused and row.host and not stock else epoch
