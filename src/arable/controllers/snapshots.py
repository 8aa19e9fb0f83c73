"""What hosts say of snapshots ends what is under way with them; what goes with a volume or a host is given back."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from arable.controllers import bringing, carries, copies
from arable.domain.errors import CloudError, Unavailable
from arable.domain.event import Event
from arable.domain.ids import HostId, OperationId, SnapshotId, VolumeId
from arable.domain.manifest import GIVE_UP, HostReport, ItemKind
from arable.domain.snapshot import (
    SNAPSHOT,
    SnapshotAct,
    SnapshotEvent,
    SnapshotSeen,
    SnapshotState,
    SnapshotWish,
)
from arable.domain.units import Size
from arable.store import events, operations, quotas, replica_wishes, reservations, snapshots
from arable.store import wishes as manifests
from arable.store.database import Tx
from arable.store.rows import json_text
from arable.store.snapshots import Kept

_S, _E = SnapshotState, SnapshotEvent
_ACTS = {
    _S.CREATING: SnapshotAct.TAKE,
    _S.RESTORING: SnapshotAct.RESTORE,
    _S.DELETING: SnapshotAct.DROP,
}
_DONE = {
    _S.CREATING: (_E.SEE_TAKEN, "snapshot.created", "was taken"),
    _S.RESTORING: (_E.SEE_RESTORED, "volume.restored", "was set back to"),
}


def settle(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """What these hosts have done, or can't do."""
    said = {seen.operation: (report.host, seen) for report in reports for seen in report.snapshots}
    if not said:
        return
    rows = snapshots.waiting(tx, said.keys())  # locked, as all that is changed here
    done: list[Kept] = []
    failed: list[tuple[Kept, SnapshotSeen]] = []
    told: dict[SnapshotId, str] = {}
    waits: list[Kept] = []
    for operation, row in rows.items():
        host, seen = said[operation]
        if host not in (row.host, row.by) or seen.act != _ACTS[_S(row.state)]:
            continue
        if seen.done:
            done.append(row)
        elif seen.tries >= GIVE_UP and row.state != _S.DELETING:
            failed.append((row, seen))
        else:
            if host == row.host and row.state != _S.RESTORING:
                waits.append(row)
            if seen.told != row.told and host == (row.by or row.host):
                told[row.id] = seen.told
    snapshots.tell(tx, told)
    _follow(tx, waits)
    _done(tx, done, at)
    for row, seen in failed:
        _failed(tx, row, seen, at)
    others = {key: told_by for key, told_by in said.items() if key not in rows}
    waited = {*copies.settle(tx, others, at), *bringing.settle(tx, others, at)}
    # Those for which nobody waits any more: their wishes are taken back, whatever became of them.
    manifests.take_back(
        tx,
        ItemKind.SNAPSHOT,
        [(host, key) for key, (host, _) in others.items() if key not in waited] + _told(done),
    )


def _follow(tx: Tx, rows: Sequence[Kept]) -> None:
    """What waits in a pool of files is wished of where the guest is that has the file open, and nowhere else beside the
    pool's keeper: it may have started, or gone to another host, since it was asked for.
    """
    there = snapshots.openers(tx, {row.volume for row in rows}) if rows else {}
    for row in rows:
        host = there.get(row.volume)
        if host == row.by or row.operation is None or row.pool is None:
            continue
        if row.by:
            manifests.take_back(tx, ItemKind.SNAPSHOT, [(row.by, row.operation)])
        if host:
            wish = SnapshotWish(
                operation=row.operation,
                act=_ACTS[_S(row.state)],
                snapshot=row.id,
                volume=row.volume,
                pool=row.pool,
            )
            body = json_text(wish)
            manifests.put(tx, [manifests.Item(host, ItemKind.SNAPSHOT, row.operation, body)])
        snapshots.open_at(tx, row.id, host)


def lost(tx: Tx, volumes: Collection[VolumeId], at: datetime, *, replicas: bool = True) -> None:
    """What these volumes had on them is gone, and their snapshots are with it; and their `replicas`, but in a fail-over."""
    if replicas:
        replica_wishes.end_of(tx, volumes)
    gone = Unavailable("it was lost, or erased, before it was in the other pool")
    carries.let_be(tx, volumes, at, gone)
    rows = snapshots.of_volumes(tx, volumes)
    snapshots.restored(tx, [row.volume for row in rows if row.state == _S.RESTORING])
    _remove(tx, rows, at, Unavailable("it is gone with its volume"))


def let_be(tx: Tx, volumes: Collection[VolumeId], at: datetime) -> None:
    """These volumes are not to be set back, or carried elsewhere, any more. Their hosts are told so before anything starts with them."""
    carries.let_be(tx, volumes, at, Unavailable("its machine went away before it was there"))
    rows = [row for row in snapshots.of_volumes(tx, volumes) if row.state == _S.RESTORING]
    _let_be(tx, rows, at, "its machine went away before it was set back")


def _done(tx: Tx, rows: Sequence[Kept], at: datetime) -> None:
    gone = [row for row in rows if row.state == _S.DELETING]
    _remove(tx, gone, at, None)
    rest = [row for row in rows if row.state in _DONE]
    snapshots.settle(
        tx, [(row.id, SNAPSHOT.next(_S(row.state), _DONE[_S(row.state)][0]), None) for row in rest]
    )
    snapshots.restored(tx, [row.volume for row in rest if row.state == _S.RESTORING])
    operations.settle_many(tx, {row.operation: (1, None) for row in rest if row.operation}, at)
    for row in rest:
        _event, kind, text = _DONE[_S(row.state)]
        if row.state == _S.RESTORING:
            _tell(tx, row, kind, f"{row.volume_name}: {text} {row.name}", at, about=row.volume)
        else:
            _tell(tx, row, kind, f"{row.name}: {text}", at)


def _failed(tx: Tx, row: Kept, seen: SnapshotSeen, at: datetime) -> None:
    """Its host has tried, and can't."""
    if row.state == _S.RESTORING:
        why = f"{row.volume_name} can't be set back to {row.name}: {seen.told}"
        _let_be(tx, [row], at, why)
        return
    assert row.operation, "it was found by that"
    assert row.host
    why = f"{row.name} can't be taken of {row.volume_name}: {seen.told}"
    assert row.pool
    operations.settle_many(tx, {row.operation: (1, Unavailable(why))}, at)
    # It may be there all the same. The id stays that of the wish.
    snapshots.settle(tx, [(row.id, SNAPSHOT.next(_S(row.state), _E.FAIL), row.operation)])
    wish = SnapshotWish(
        operation=row.operation,
        act=SnapshotAct.DROP,
        snapshot=row.id,
        volume=row.volume,
        pool=row.pool,
    )
    body = json_text(wish)
    items = [manifests.Item(host, ItemKind.SNAPSHOT, id_, body) for host, id_ in _told([row])]
    manifests.put(tx, items)
    _tell(tx, row, "snapshot.failed", why, at)


def _let_be(tx: Tx, rows: Sequence[Kept], at: datetime, why: str) -> None:
    snapshots.settle(tx, [(row.id, _S.AVAILABLE, None) for row in rows])
    snapshots.restored(tx, [row.volume for row in rows])
    failed = {row.operation: (1, Unavailable(why)) for row in rows if row.operation}
    operations.settle_many(tx, failed, at)
    _take_back(tx, rows)
    for row in rows:
        _tell(tx, row, "volume.not-restored", f"{row.volume_name}: {why}", at, about=row.volume)


def _remove(tx: Tx, rows: Sequence[Kept], at: datetime, error: CloudError | None) -> None:
    """They are no more, and what they counted is given back."""
    if not rows:
        return
    bringing.lost(tx, [row.id for row in rows], at)
    snapshots.remove(tx, [row.id for row in rows])
    quotas.give_many(tx, [(row.account, {"snapshots": 1, "snapshot_mib": row.mib}) for row in rows])
    reservations.give(tx, [(row.host, Size(disk_mib=row.mib), 0) for row in rows if row.host])
    ended = {}
    for row in rows:
        if row.operation:
            ended[row.operation] = (1, None if row.state == _S.DELETING else error)
        _tell(tx, row, "snapshot.gone", f"{row.name}: {error.public if error else 'deleted'}", at)
    operations.settle_many(tx, ended, at)
    _take_back(tx, rows)


def _take_back(tx: Tx, rows: Iterable[Kept]) -> None:
    manifests.take_back(tx, ItemKind.SNAPSHOT, _told(rows))


def _told(rows: Iterable[Kept]) -> list[tuple[HostId, OperationId]]:
    """Who was told of what is under way with them."""
    return [
        (host, row.operation)
        for row in rows
        for host in (row.host, row.by)
        if host and row.operation
    ]


def _tell(tx: Tx, row: Kept, kind: str, text: str, at: datetime, about: str | None = None) -> None:
    event = Event(at=at, account=row.account, kind=kind, subject=about or row.id, text=text)
    events.add_many(tx, [event])
