"""How the way of a volume to another pool ends: whoever ends it, it is written down so, in one transaction."""

from collections.abc import Sequence
from datetime import datetime

from arable.domain.errors import CloudError
from arable.domain.event import Event
from arable.domain.ids import HostId, PoolId
from arable.domain.manifest import ItemKind, ScrapWish
from arable.domain.units import Size
from arable.store import carries, events, operations, reservations
from arable.store import wishes as manifests
from arable.store.carries import Carry
from arable.store.database import Tx
from arable.store.rows import json_text


def arrive(tx: Tx, row: Carry, at: datetime) -> None:
    """The volume is in the other pool from now on; what is left of it where it was is erased."""
    carries.settle(tx, row, row.target)
    operations.settle_many(tx, {row.operation: (1, None)}, at)
    _take_back(tx, row)
    _clear(tx, row, row.source, row.source_host)
    tell(tx, row, "volume.migrated", "was carried to another storage pool", at)


def stop(tx: Tx, row: Carry, at: datetime, why: CloudError) -> None:
    """It stays where it is, and what the other host may have of it is erased."""
    end(tx, row, at, why)
    _clear(tx, row, row.target, row.target_host)


def end(tx: Tx, row: Carry, at: datetime, error: CloudError) -> None:
    """It stays where it is; what becomes of the row is another matter."""
    carries.settle(tx, row, None)
    operations.settle_many(tx, {row.operation: (1, error)}, at)
    _take_back(tx, row)
    tell(tx, row, "volume.not-migrated", error.public, at)


def _clear(tx: Tx, row: Carry, pool: PoolId, host: HostId | None) -> None:
    """Have it erased there."""
    carries.over(tx, row, left=pool if host else None)
    if host:
        body = json_text(ScrapWish(volume=row.volume, pool=pool))
        manifests.put(tx, [manifests.Item(host, ItemKind.SCRAP, row.volume, body)])


def _take_back(tx: Tx, row: Carry) -> None:
    there = (row.source_host, row.target_host)
    manifests.take_back(tx, ItemKind.CARRY, [(host, row.operation) for host in there if host])


def give(tx: Tx, back: Sequence[tuple[HostId | None, int]]) -> None:
    """So much room is free again."""
    reservations.give(tx, [(host, Size(disk_mib=mib), 0) for host, mib in back if host])


def tell(tx: Tx, row: Carry, kind: str, text: str, at: datetime) -> None:
    """Its owner is told."""
    said = f"{row.name}: {text}"
    events.add_many(
        tx, [Event(at=at, account=row.account, kind=kind, subject=row.volume, text=said)]
    )
