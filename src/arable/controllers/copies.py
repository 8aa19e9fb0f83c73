"""What hosts say of copies of snapshots: volumes are there, or will not be."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from arable.domain.errors import CloudError, Unavailable
from arable.domain.event import Event
from arable.domain.ids import HostId, OperationId, PoolId
from arable.domain.manifest import GIVE_UP, ItemKind, ScrapWish
from arable.domain.snapshot import SnapshotAct, SnapshotSeen
from arable.store import copying, events, operations
from arable.store import wishes as manifests
from arable.store.copying import Copying
from arable.store.database import Tx
from arable.store.rows import json_text


def settle(
    tx: Tx, said: Mapping[OperationId, tuple[HostId, SnapshotSeen]], at: datetime
) -> Collection[OperationId]:
    """Which of these are of copies that are waited for."""
    if not said:
        return ()
    rows = copying.waiting(tx, said.keys())
    done, failed = [], []
    for operation, row in rows.items():
        host, seen = said[operation]
        if row.host != host or seen.act is not SnapshotAct.COPY:
            continue
        if seen.done:
            done.append(row)
        elif seen.tries >= GIVE_UP:
            failed.append((row, Unavailable(f"{row.name} can't be made: {seen.told}")))
        elif seen.told != row.told:
            copying.tell(tx, row.id, seen.told)
    copying.over(tx, [row.id for row in done], erasing=False)
    _end(tx, [(row, None) for row in done], "volume.created", at)
    _give_up(tx, failed, at)
    return rows.keys()


def lost(tx: Tx, pool: PoolId, at: datetime) -> None:
    """The pool is given up, with what was to be made in it."""
    error = Unavailable("its host was lost for good")
    rows = copying.into(tx, pool)
    copying.over(tx, [row.id for row in rows], erasing=True)
    _end(tx, [(row, error) for row in rows], "volume.not-copied", at)


def _give_up(tx: Tx, failed: Sequence[tuple[Copying, CloudError]], at: datetime) -> None:
    """What may be there of it is erased, and then it is gone."""
    copying.over(tx, [row.id for row, _ in failed], erasing=True)
    scraps = [
        manifests.Item(
            row.host,
            ItemKind.SCRAP,
            row.id,
            json_text(ScrapWish(volume=row.id, pool=row.pool)),
        )
        for row, _ in failed
    ]
    manifests.put(tx, scraps)
    _end(tx, failed, "volume.not-copied", at)


def _end(
    tx: Tx, rows: Sequence[tuple[Copying, CloudError | None]], kind: str, at: datetime
) -> None:
    operations.settle_many(tx, {row.operation: (1, error) for row, error in rows}, at)
    manifests.take_back(tx, ItemKind.SNAPSHOT, [(row.host, row.operation) for row, _ in rows])
    told = [
        Event(
            at=at,
            account=row.account,
            kind=kind,
            subject=row.id,
            text=f"{row.name}: {error.public if error else 'was made of a snapshot'}",
        )
        for row, error in rows
    ]
    events.add_many(tx, told)
