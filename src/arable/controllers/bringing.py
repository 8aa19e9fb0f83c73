"""What hosts say of images that they are to bring; how it ends when they can't. That it is done is said by the bytes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from arable.domain.errors import CloudError, Unavailable
from arable.domain.event import Event
from arable.domain.ids import HostId, OperationId, SnapshotId
from arable.domain.manifest import GIVE_UP, ItemKind
from arable.domain.snapshot import SnapshotAct, SnapshotSeen
from arable.store import bringing, events, operations
from arable.store import wishes as manifests
from arable.store.bringing import Bringing
from arable.store.database import Tx

_LOST = (
    "what its host brought was lost, since an older copy of the database was restored; ask again"
)


def settle(
    tx: Tx, said: Mapping[OperationId, tuple[HostId, SnapshotSeen]], at: datetime
) -> Collection[OperationId]:
    """Which of these are of images that are waited for."""
    if not said:
        return ()
    rows = bringing.waiting(tx, said.keys())
    failed: list[tuple[Bringing, CloudError]] = []
    told = {}
    for operation, row in rows.items():
        host, seen = said[operation]
        if row.host != host or seen.act is not SnapshotAct.BRING:
            continue
        if seen.done:  # whoever took the bytes in has forgotten it
            failed.append((row, Unavailable(_LOST)))
        elif seen.tries >= GIVE_UP:
            failed.append((row, Unavailable(f"{row.name} can't be made: {seen.told}")))
        elif seen.told != row.told:
            told[row.id] = seen.told
    bringing.tell(tx, told)
    _give_up(tx, failed, at)
    return rows.keys()


def lost(tx: Tx, snapshots: Collection[SnapshotId], at: datetime) -> None:
    """These are no more, and nothing is made of them."""
    error = Unavailable("its snapshot went away before it was made")
    _give_up(tx, [(row, error) for row in bringing.of_snapshots(tx, snapshots)], at)


def _give_up(tx: Tx, failed: Sequence[tuple[Bringing, CloudError]], at: datetime) -> None:
    if not failed:
        return
    bringing.over(tx, [row.id for row, _ in failed])
    operations.settle_many(tx, {row.operation: (1, error) for row, error in failed}, at)
    manifests.take_back(tx, ItemKind.SNAPSHOT, [(row.host, row.operation) for row, _ in failed])
    told = [
        Event(
            at=at,
            account=row.account,
            kind="image.not-created",
            subject=row.id,
            text=f"{row.name}: {error.public}",
        )
        for row, error in failed
    ]
    events.add_many(tx, told)
