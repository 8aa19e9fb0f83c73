"""Images whose first version is being made of a snapshot."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import exists, select, update

from arable.domain.ids import AccountId, HostId, ImageId, OperationId, SnapshotId
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

_i, _s, _v, _p = t.image.c, t.snapshot.c, t.volume.c, t.pool.c


class Bringing(NamedTuple):
    """One, and the host that brings its disk."""

    id: ImageId
    account: AccountId
    name: str
    operation: OperationId
    told: str
    host: HostId


_BRINGING = (
    select(_i.id, _i.account, _i.name, _i.operation, _i.told, _p.host)
    .select_from(
        t.image.join(t.snapshot, _s.id == _i.snapshot)
        .join(t.volume, _v.id == _s.volume)
        .join(t.pool, _p.id == _v.pool)
    )
    .where(_i.operation.is_not(None))
    .order_by(_i.id)
)


def waiting(
    tx: Tx, operations: Iterable[OperationId], *, lock: bool = True
) -> dict[OperationId, Bringing]:
    """Those for which these operations wait, locked."""
    query = _BRINGING.where(among(tx, _i.operation, operations))
    rows = tx.execute(query.with_for_update(of=t.image) if lock else query)
    return {row.operation: row for row in map(Bringing._make, rows)}


def of_snapshots(tx: Tx, snapshots: Collection[SnapshotId]) -> list[Bringing]:
    """Those that are being made of these, locked."""
    if not snapshots:
        return []
    query = _BRINGING.where(among(tx, _s.id, snapshots)).with_for_update(of=t.image)
    return [Bringing._make(row) for row in tx.execute(query)]


def image_of(tx: Tx, snapshot: SnapshotId) -> str | None:
    """The name of one that is being made of a snapshot."""
    here = (_i.operation.is_not(None), _i.snapshot == snapshot)
    return tx.execute(select(_i.name).where(*here).limit(1)).scalar()


def tell(tx: Tx, told: Mapping[ImageId, str]) -> None:
    """Why they are not there yet."""
    for image, text in told.items():
        tx.execute(update(t.image).where(_i.id == image).values(told=text))


def over(tx: Tx, images: Collection[ImageId]) -> None:
    """They will not be made. What has no version of another origin is no image at all, and is gone."""
    here = among(tx, _i.id, images)
    empty = ~exists().where(t.image_version.c.image == _i.id)
    tx.execute(t.image.delete().where(here, empty))
    left = update(t.image).where(here)
    tx.execute(left.values(operation=None, told="", generation=_i.generation + 1))
