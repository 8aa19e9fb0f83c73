"""How snapshots are kept, and what waits for hosts of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import case, func, select, update

from arable.domain.access import Scope
from arable.domain.ids import (
    AccountId,
    HostId,
    MachineId,
    OperationId,
    PoolId,
    SnapshotId,
    VolumeId,
    ZoneId,
)
from arable.domain.pool import FILE
from arable.domain.snapshot import Snapshot, SnapshotState
from arable.domain.volume import Change
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import change_rows
from arable.store.scope import visible

WHAT = "snapshot"
_s, _v, _p = t.snapshot.c, t.volume.c, t.pool.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFilter:
    """Which snapshots of a list."""

    account: AccountId | None = None
    zone: ZoneId | None = None
    volume: VolumeId | None = None
    name: str | None = None


class Kept(NamedTuple):
    """A snapshot, and the host that has it; `by` is one that is told of what is under way, too."""

    id: SnapshotId
    account: AccountId
    volume: VolumeId
    name: str
    mib: int
    state: str
    operation: OperationId | None
    told: str
    pool: PoolId | None
    host: HostId | None
    volume_name: str
    by: HostId | None


def add(tx: Tx, snapshot: Snapshot) -> None:
    """Keep a new one."""
    kept.add(tx, t.snapshot, snapshot)


def get(tx: Tx, scope: Scope, id_: SnapshotId, *, lock: bool = False) -> Snapshot:
    """The one, if it is there and in sight."""
    here = (_s.id == id_, *visible(_s.account, scope))
    return kept.get(tx, t.snapshot, Snapshot, WHAT, *here, lock=lock)


def named(tx: Tx, account: AccountId, zone: ZoneId, name: str) -> bool:
    """Whether the account has one of that name."""
    mine = (_s.account == account, _s.zone == zone, _s.name == name)
    return tx.execute(select(_s.id).where(*mine)).first() is not None


def page(
    tx: Tx, scope: Scope, where: SnapshotFilter, *, after: str | None = None, limit: int = 100
) -> list[Snapshot]:
    """By age."""
    conditions = visible(_s.account, scope)
    wanted = (
        (_s.account, where.account),
        (_s.zone, where.zone),
        (_s.volume, where.volume),
        (_s.name, where.name),
    )
    conditions += [column == value for column, value in wanted if value]
    return kept.page(tx, t.snapshot, Snapshot, conditions, after=after, limit=limit)


def of_machine(tx: Tx, machine: MachineId) -> list[Snapshot]:
    """Those of its disks, by age."""
    disks = select(_v.id).where(_v.machine == machine)
    query = select(t.snapshot).where(_s.volume.in_(disks)).order_by(_s.id)
    return [kept.value(Snapshot, row) for row in tx.execute(query)]


def save(tx: Tx, snapshot: Snapshot) -> None:
    """The next generation."""
    kept.save(tx, t.snapshot, snapshot, WHAT)


def count_of(tx: Tx, volume: VolumeId) -> int:
    """How many a volume has."""
    return int(tx.execute(select(func.count()).where(_s.volume == volume)).scalar() or 0)


def wanted_of(tx: Tx, volume: VolumeId) -> int:
    """How many it has that nobody wants to be deleted."""
    here = (_s.volume == volume, _s.state != SnapshotState.DELETING.value)
    return int(tx.execute(select(func.count()).where(*here)).scalar() or 0)


def mib_of(tx: Tx, volumes: Iterable[VolumeId]) -> dict[VolumeId, int]:
    """What the snapshots of these volumes count where those are; only of volumes that have any."""
    query = select(_s.volume, func.sum(_s.mib)).where(among(tx, _s.volume, volumes))
    return {volume: int(mib) for volume, mib in tx.execute(query.group_by(_s.volume))}


def of_volumes(tx: Tx, volumes: Collection[VolumeId]) -> list[Kept]:
    """All of these volumes, locked."""
    if not volumes:
        return []
    query = _KEPT.where(among(tx, _s.volume, volumes)).order_by(_s.id)
    return [Kept._make(row) for row in tx.execute(query.with_for_update(of=t.snapshot))]


def waiting(tx: Tx, operations: Collection[OperationId]) -> dict[OperationId, Kept]:
    """Those for which these operations wait, locked."""
    query = _KEPT.where(among(tx, _s.operation, operations)).order_by(_s.id)
    rows = tx.execute(query.with_for_update(of=t.snapshot))
    return {row.operation: row for row in map(Kept._make, rows) if row.operation}


def settle(tx: Tx, rows: Sequence[tuple[SnapshotId, SnapshotState, OperationId | None]]) -> None:
    """These are in these states now, and these operations wait for them."""
    values = [(state.value, operation, "", id_) for id_, state, operation in rows]
    change_rows(tx, t.snapshot, ("state", "operation", "told"), values)
    over = [id_ for id_, _state, operation in rows if operation is None]
    if over:
        forgotten = update(t.snapshot).where(among(tx, _s.id, over), _s.by.is_not(None))
        tx.execute(forgotten.values(by=None))
    if rows:
        here = update(t.snapshot).where(among(tx, _s.id, [id_ for id_, *_ in rows]))
        tx.execute(here.values(generation=_s.generation + 1))


def openers(tx: Tx, volumes: Iterable[VolumeId]) -> dict[VolumeId, HostId]:
    """Where guests may have the files of these volumes open, of those in pools of files; not those on the pool's own host."""
    m = t.machine.c
    query = (
        select(_v.id, m.host)
        .join(t.machine, m.id == _v.machine)
        .join(t.pool, _p.id == _v.pool)
        .where(among(tx, _v.id, volumes), _p.kind == FILE, m.host.is_not(None), m.host != _p.host)
    )
    return {VolumeId(volume): HostId(host) for volume, host in tx.execute(query)}


def open_at(tx: Tx, snapshot: SnapshotId, host: HostId | None) -> None:
    """That host is told of what is under way with it, too, and no other."""
    tx.execute(update(t.snapshot).where(_s.id == snapshot).values(by=host))


def tell(tx: Tx, told: Mapping[SnapshotId, str]) -> None:
    """Why what is under way is not over yet."""
    change_rows(tx, t.snapshot, ("told",), [(text, id_) for id_, text in sorted(told.items())])


def restored(tx: Tx, volumes: Collection[VolumeId]) -> None:
    """These volumes are not being set back any more."""
    here = (among(tx, _v.id, volumes), _v.change == Change.RESTORE.value)
    changed = update(t.volume).where(*here)
    tx.execute(changed.values(change="", operation=None, told="", generation=_v.generation + 1))


def restoring(tx: Tx) -> list[Kept]:
    """All whose volumes are being set back."""
    query = _KEPT.where(_s.state == SnapshotState.RESTORING.value).order_by(_s.id)
    return [Kept._make(row) for row in tx.execute(query)]


def remove(tx: Tx, ids: Collection[SnapshotId]) -> None:
    """Their rows; the caller has given back what they held."""
    tx.execute(t.snapshot.delete().where(among(tx, _s.id, ids)))


_KEPT = select(
    *(_s.id, _s.account, _s.volume, _s.name, _s.mib, _s.state, _s.operation, _s.told),
    *(_v.pool, _p.host),
    case((_v.name == "", _v.id), else_=_v.name),
    _s.by,
).select_from(t.snapshot.join(t.volume, _v.id == _s.volume).outerjoin(t.pool, _p.id == _v.pool))
