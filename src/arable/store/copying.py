"""Volumes that are being made of snapshots."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import select, update

from arable.domain.ids import AccountId, HostId, OperationId, PoolId, SnapshotId, VolumeId
from arable.domain.volume import Change
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

_v, _p = t.volume.c, t.pool.c


class Copying(NamedTuple):
    """One, and the host that makes it."""

    id: VolumeId
    account: AccountId
    name: str
    operation: OperationId
    told: str
    pool: PoolId
    host: HostId


_COPYING = (
    select(_v.id, _v.account, _v.name, _v.operation, _v.told, _v.pool, _p.host)
    .select_from(t.volume.join(t.pool, _p.id == _v.pool))
    .where(_v.change == Change.COPY.value)
    .order_by(_v.id)
    .with_for_update(of=t.volume)
)


def waiting(tx: Tx, operations: Iterable[OperationId]) -> dict[OperationId, Copying]:
    """Those for which these operations wait, locked."""
    rows = tx.execute(_COPYING.where(among(tx, _v.operation, operations)))
    return {row.operation: row for row in map(Copying._make, rows)}


def into(tx: Tx, pool: PoolId) -> list[Copying]:
    """Those that are being made in a pool, locked."""
    return [Copying._make(row) for row in tx.execute(_COPYING.where(_v.pool == pool))]


def any_of(tx: Tx, snapshot: SnapshotId) -> bool:
    """Whether one is being made of a snapshot."""
    here = (_v.change == Change.COPY.value, _v.copied_from == snapshot)
    return tx.execute(select(_v.id).where(*here).limit(1)).first() is not None


def of_volume(tx: Tx, volume: VolumeId) -> bool:
    """Whether one is being made of any of its snapshots."""
    theirs = select(t.snapshot.c.id).where(t.snapshot.c.volume == volume)
    here = (_v.change == Change.COPY.value, _v.copied_from.in_(theirs))
    return tx.execute(select(_v.id).where(*here).limit(1)).first() is not None


def tell(tx: Tx, volume: VolumeId, told: str) -> None:
    """Why it is not there yet."""
    tx.execute(update(t.volume).where(_v.id == volume).values(told=told))


def over(tx: Tx, volumes: Collection[VolumeId], *, erasing: bool) -> None:
    """Nobody waits for them any more: they are there, or are to be erased."""
    if volumes:
        changed = update(t.volume).where(among(tx, _v.id, volumes))
        values = {"change": "", "operation": None, "told": "", "erasing": erasing}
        tx.execute(changed.values(**values, generation=_v.generation + 1))
