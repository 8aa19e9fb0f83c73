"""Volumes on their way to another pool, and what is left of them elsewhere until that is erased (docs/decisions/0041).

A row holds room in the pool that is not the volume's: where it is going, while `left` is null; else in `left`, where a copy
of it is that nobody may have, until its host has said that it is erased.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, insert, or_, select, tuple_, update

from arable.domain.ids import AccountId, HostId, MachineId, OperationId, PoolId, VolumeId
from arable.domain.manifest import ItemKind
from arable.domain.volume import Change
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

_c, _v = t.carry.c, t.volume.c
_from, _to = t.pool.alias("source_pool"), t.pool.alias("target_pool")


class Carry(NamedTuple):
    """One. Hosts are null when they are gone for good; `there` is where the volume is by its row, if it has one."""

    volume: VolumeId
    operation: OperationId
    account: AccountId
    name: str
    source: PoolId
    target: PoolId
    left: PoolId | None
    mib: int
    copied_mib: int
    told: str
    source_host: HostId | None
    target_host: HostId | None
    there: PoolId | None
    erasing: bool | None
    machine: MachineId | None = None  # that runs with it meanwhile (docs/decisions/0055)

    @property
    def left_host(self) -> HostId | None:
        """The host that is to erase what is left."""
        return self.source_host if self.left == self.source else self.target_host

    @property
    def going(self) -> bool:
        """Whether it is still on its way."""
        return self.left is None


_CARRIES = (
    select(
        *(_c.volume, _c.operation, _c.account, _c.name, _c.source, _c.target, _c.left_in, _c.mib),
        *(_c.copied_mib, _c.told, _from.c.host, _to.c.host, _v.pool, _v.erasing),
        _c.machine,
    )
    .select_from(
        t.carry.outerjoin(_from, _from.c.id == _c.source)
        .outerjoin(_to, _to.c.id == _c.target)
        .outerjoin(t.volume, _v.id == _c.volume)
    )
    .order_by(_c.volume)
)


def _rows(tx: Tx, *where: ColumnElement[bool]) -> list[Carry]:
    """Held, with their volumes, which are held before them."""
    ids = list(tx.scalars(select(_c.volume).where(*where)))
    if not ids:
        return []
    held = select(_v.id).where(among(tx, _v.id, ids)).order_by(_v.id).with_for_update()
    tx.execute(held).all()
    query = _CARRIES.where(among(tx, _c.volume, ids), *where).with_for_update(of=t.carry)
    return [Carry._make(row) for row in tx.execute(query)]


def add(tx: Tx, row: Carry, at: datetime) -> None:
    """It is on its way."""
    kept = {name: getattr(row, name) for name in ("volume", "operation", "account", "name")}
    places = {"source": row.source, "target": row.target, "mib": row.mib, "machine": row.machine}
    tx.execute(insert(t.carry).values(**kept, **places, begun_at=at))


def waiting(tx: Tx, operations: Iterable[OperationId]) -> dict[OperationId, Carry]:
    """Those for which these operations wait, locked."""
    rows = _rows(tx, among(tx, _c.operation, operations), _c.left_in.is_(None))
    return {row.operation: row for row in rows}


def going(tx: Tx) -> list[Carry]:
    """All that are on their way at rest; nobody holds them."""
    at_rest = (_c.left_in.is_(None), _c.machine.is_(None))
    return [Carry._make(row) for row in tx.execute(_CARRIES.where(*at_rest))]


def with_machines(tx: Tx, machines: Collection[MachineId]) -> dict[MachineId, list[Carry]]:
    """Disks that are on their way while these machines run with them, locked."""
    found: dict[MachineId, list[Carry]] = {}
    if machines:
        here = (among(tx, _c.machine, machines), _c.left_in.is_(None))
        for row in _rows(tx, *here):
            assert row.machine
            found.setdefault(row.machine, []).append(row)
    return found


def all_left(tx: Tx) -> list[Carry]:
    """All of which something is still to be erased."""
    return _rows(tx, _c.left_in.is_not(None))


def told(tx: Tx) -> dict[tuple[HostId, str], str]:
    """What hosts are told of them: the bodies of items."""
    item = t.manifest_item.c
    query = select(item.host, item.id, item.body).where(item.kind == ItemKind.CARRY)
    return {(host, id_): body for host, id_, body in tx.execute(query) if body}


def of(tx: Tx, volume: VolumeId) -> Carry | None:
    """That of a volume, locked; also when only something is left of it."""
    return next(iter(_rows(tx, _c.volume == volume)), None)


def going_of(tx: Tx, volumes: Collection[VolumeId]) -> list[Carry]:
    """Those of these volumes that are on their way, locked."""
    if not volumes:
        return []
    return _rows(tx, among(tx, _c.volume, volumes), _c.left_in.is_(None))


def into(tx: Tx, pool: PoolId) -> list[Carry]:
    """Those that are on their way to a pool, or left something in it, locked."""
    return _rows(tx, or_(_c.left_in == pool, (_c.left_in.is_(None)) & (_c.target == pool)))


def left(tx: Tx, erased: Collection[tuple[HostId, VolumeId]]) -> list[Carry]:
    """Those of which these hosts have erased what was left, locked."""
    if not erased:
        return []
    rows = _rows(tx, among(tx, _c.volume, {id_ for _host, id_ in erased}), _c.left_in.is_not(None))
    return [row for row in rows if (row.left_host, row.volume) in erased]


def tell(tx: Tx, row: Carry, told: str, copied_mib: int) -> None:
    """How far it is, and what it waits for."""
    tx.execute(
        update(t.carry).where(_c.volume == row.volume).values(told=told, copied_mib=copied_mib)
    )
    tx.execute(update(t.volume).where(_v.id == row.volume).values(told=told))


def over(tx: Tx, row: Carry, *, left: PoolId | None) -> None:
    """Nobody waits for it any more; with `left` something is still to be erased there."""
    here = _c.volume == row.volume
    if left is None:
        tx.execute(delete(t.carry).where(here))
    else:
        tx.execute(update(t.carry).where(here).values(left_in=left, told=""))


def forget(tx: Tx, rows: Iterable[Carry]) -> None:
    """Nothing is left of these."""
    keys = [(row.volume, row.operation) for row in rows]
    if keys:
        tx.execute(delete(t.carry).where(tuple_(_c.volume, _c.operation).in_(keys)))


def settle(tx: Tx, row: Carry, pool: PoolId | None) -> None:
    """The volume is in that pool, and nothing is under way with it; None: where it was."""
    here = (_v.id == row.volume, _v.change == Change.MIGRATE.value)
    values = {"change": "", "operation": None, "told": ""} | ({"pool": pool} if pool else {})
    tx.execute(update(t.volume).where(*here).values(**values, generation=_v.generation + 1))
