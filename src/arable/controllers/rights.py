"""The right to run machines with shared disks, as storage hosts tell of it (docs/decisions/0007)."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from arable.controllers import attachments, wishes
from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import ExportSeen, ExportState, HostReport
from arable.store import attention, exports, incarnations, moves
from arable.store import wishes as manifests
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.nudges import nudge

log = logging.getLogger(__name__)

_COLUMNS = ("epoch", "fenced", "attention", "generation", "changed_at")


def keep(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """What storage hosts say; and where this database is behind them, since it is an older copy, it follows."""
    words = _words(tx, reports)
    seen = [
        (host, export)
        for (host, _), export in words.items()
        if export is not None and not export.beside
    ]
    gone = [key for key, export in words.items() if export is None]
    if seen:
        exports.keep(tx, seen)
        if moves.bound(tx, {export.machine for _, export in seen}):
            nudge(tx, moves.TOPIC)
        _follow(tx, {export.machine: export for _, export in seen}, at)
        attachments.cut_off(tx, {export.machine: export.generation for _, export in seen}, at)
    if gone:
        exports.forget(tx, gone)


def _words(
    tx: Tx, reports: Sequence[HostReport]
) -> dict[tuple[HostId, MachineId], ExportSeen | None]:
    """The last that each host said of each machine; None: nothing more. A full report names all there is: what was
    said before it may be lost, that a lease is nobody's any more among it.
    """
    words: dict[tuple[HostId, MachineId], ExportSeen | None] = {}
    known = exports.named_by(tx, {report.host for report in reports if report.full})
    for report in reports:
        if report.full:
            before = known.get(report.host, set()) | {m for h, m in words if h == report.host}
            words |= dict.fromkeys((report.host, machine) for machine in sorted(before))
        words |= {(report.host, export.machine): export for export in report.exports}
        words |= dict.fromkeys((report.host, machine) for machine in report.exports_gone)
    return words


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
    # Who moves is ahead of us until the move is seen to be over (`moving.py`).
    under_way = moves.bound(tx, behind)
    behind = [
        id_
        for id_ in behind
        if id_ not in under_way or max(seen[id_].epoch, seen[id_].highest) > under_way[id_].epoch
    ]
    if not behind:
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
