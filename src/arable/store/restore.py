"""What has to be done with an older copy of a database before any management server works with it.

The copy does not know what happened since it was made, so nothing in it is acted on before hosts have said what they
run (`controllers/restored.py`), and nothing in it may erase what somebody may have needed since.
"""

from datetime import datetime

from sqlalchemy import delete, exists, select, update

from arable.domain.errors import Unavailable
from arable.domain.host import HostState
from arable.domain.manifest import ItemKind
from arable.domain.move import MoveStage
from arable.domain.snapshot import SnapshotState
from arable.domain.units import Size
from arable.store import (
    attention,
    carries,
    evictions,
    incarnations,
    moves,
    operations,
    replica_wishes,
    reservations,
    resting,
    sent_volumes,
    snapshots,
    transfers,
    volume_replicas,
)
from arable.store import schema as t
from arable.store.database import Tx


def renew(tx: Tx, name: str, at: datetime) -> None:
    """Make ready a copy that was restored just now; `name` is drawn for it. No server may run on it yet."""
    incarnations.draw(tx, name, at)
    tx.execute(update(t.host).values(awaited=True, server=""))
    tx.execute(delete(t.hearing))
    tx.execute(delete(t.export))
    tx.execute(delete(t.sighting))
    # Hosts may have been powered on since, and what was to be switched then is nothing to switch now.
    tx.execute(update(t.host).values(powered_off=False))
    down = update(t.host).where(t.host.c.state == HostState.DOWN)
    tx.execute(down.values(state=HostState.SILENT, told="", excused_until=None))
    tx.execute(update(t.bmc).values(wanted=None))
    resting.wake_all(tx, at)
    tx.execute(update(t.network).values(idle_since=None))
    _end_moves(tx, at)
    item, volume, machine = t.manifest_item.c, t.volume.c, t.machine.c
    # Disks of machines that went elsewhere before they ran may be in use by now; those of expunged ones can't be.
    expunged = exists(select(volume.id).where(volume.id == item.id, volume.erasing))
    tx.execute(delete(t.manifest_item).where(item.kind == ItemKind.SCRAP, ~expunged))
    _forget_left(tx)
    _end_restores(tx, at)
    # Their owners may have recovered them since, and have the whole time to do so again.
    destroyed = update(t.machine).where(machine.destroyed_at.is_not(None))
    tx.execute(destroyed.values(destroyed_at=at))
    # A word of the grid manager's that was for then is not for now, and copies that it let go since may not be there.
    evictions.give_up(tx, at)
    transfers.look_again(tx, name, at)
    sent_volumes.look_again(tx, at)


def _end_moves(tx: Tx, at: datetime) -> None:
    """What moved then has long arrived, or stayed; hosts say where it is. The room that was held for it is free."""
    moved = moves.all_bound(tx)
    size = {
        row.id: Size(row.cpus, row.cpu_mhz, row.memory_mib, 0)
        for row in attention.machines_by_id(tx, [one.id for one in moved]).values()
    }
    reservations.give(tx, [(one.target, size[one.id], 1) for one in moved if one.target])
    item = t.manifest_item
    for one in moved:
        there = (item.c.kind == ItemKind.GUEST, item.c.id == one.id, item.c.host == one.target)
        tx.execute(delete(item).where(*there))
    tx.execute(update(t.move).values(stage=MoveStage.OVER, told="an older copy was restored"))
    told = Unavailable("an older copy of the database was restored meanwhile; ask again")
    operations.fail_kind(tx, moves.KIND, at, told)


def _forget_left(tx: Tx) -> None:
    """What was to be erased of volumes that had gone to another pool may be the volume again by now: it is left alone."""
    for ended in volume_replicas.all_ended(tx):
        replica_wishes.let_go(tx, ended)
    rows = carries.all_left(tx)
    carries.forget(tx, rows)
    sizes = [(row.left_host, Size(disk_mib=row.mib), 0) for row in rows]
    reservations.give(tx, [(host, size, count) for host, size, count in sizes if host])


def _end_restores(tx: Tx, at: datetime) -> None:
    """Volumes that were set back then may have been written to since: nothing is set back by an old word."""
    found = snapshots.restoring(tx)
    told = Unavailable("an older copy of the database was restored meanwhile; ask again")
    for row in found:
        if row.operation:
            wish = (
                t.manifest_item.c.kind == ItemKind.SNAPSHOT,
                t.manifest_item.c.id == row.operation,
            )
            tx.execute(delete(t.manifest_item).where(*wish))
            operations.fail(tx, row.operation, at, told)
    snapshots.settle(tx, [(row.id, SnapshotState.AVAILABLE, None) for row in found])
    snapshots.restored(tx, [row.volume for row in found])
