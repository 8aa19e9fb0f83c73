"""Replicas of volumes in other pools (docs/decisions/0051).

A row holds room in a pool that is not the volume's, `held_in`: in the target while it follows; where the volume was, once the
replica was promoted; and wherever what is left of either is to be erased. A volume's `replica` names the row that is its own.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from arable.domain.host import HostState
from arable.domain.ids import (
    AccountId,
    HostId,
    MachineId,
    PoolId,
    ReplicaId,
    VolumeId,
    ZoneId,
)
from arable.domain.manifest import ItemKind
from arable.domain.replica import ReplicaState
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

_r, _v = t.replica.c, t.volume.c
_from, _to = t.pool.alias("source_pool"), t.pool.alias("target_pool")


class Replica(NamedTuple):
    """One. `source` is the volume's pool; while it follows, as its row has it now. Hosts are null when they are gone."""

    id: ReplicaId
    volume: VolumeId
    account: AccountId
    name: str
    source: PoolId | None
    target: PoolId
    state: str
    held_in: PoolId
    mib: int
    point: int
    point_at: datetime | None
    told: str
    source_host: HostId | None
    target_host: HostId | None
    there: ReplicaId | None  # what the volume has as its replica; null also when there is no volume
    pool: PoolId | None  # the volume's
    volume_mib: int | None
    wanted: bool | None  # by the volume
    machine: MachineId | None

    @property
    def held_by(self) -> HostId | None:
        """The host in whose pool it holds room."""
        return self.target_host if self.held_in == self.target else self.source_host


class Lacking(NamedTuple):
    """A volume that is to have a replica, and has none."""

    id: VolumeId
    account: AccountId
    zone: ZoneId
    name: str
    mib: int
    pool: PoolId
    machine: MachineId | None


_ROWS = (
    select(
        *(_r.id, _r.volume, _r.account, _r.name, _r.source, _r.target, _r.state, _r.held_in),
        *(_r.mib, _r.point, _r.point_at, _r.told, _from.c.host, _to.c.host),
        *(_v.replica, _v.pool, _v.mib.label("volume_mib")),
        (_v.replicated & ~_v.erasing).label("wanted"),
        _v.machine,
    )
    .select_from(
        t.replica.outerjoin(_from, _from.c.id == _r.source)
        .outerjoin(_to, _to.c.id == _r.target)
        .outerjoin(t.volume, _v.id == _r.volume)
    )
    .order_by(_r.volume, _r.id)
)
_FOLLOWING = _r.state == ReplicaState.FOLLOWING
# Word for word as the index has it, or SQLite looks through every volume.
_LACKS = and_(
    text("volume.replicated and volume.replica is null"), _v.pool.is_not(None), ~_v.erasing
)
_LACKING = (
    select(_v.id, _v.account, _v.zone, _v.name, _v.mib, _v.pool, _v.machine)
    .where(_LACKS)
    .order_by(_v.id)
    .limit(bindparam("most"))
)


def lacking(tx: Tx, most: int) -> list[Lacking]:
    """Volumes that are in a pool and should have a replica, the oldest first; nobody holds them."""
    return [Lacking._make(row) for row in tx.execute(_LACKING, {"most": most})]


def hold_lacking(tx: Tx, ids: Iterable[VolumeId]) -> dict[VolumeId, Lacking]:
    """Those of these of which that is so still, until the end of the transaction."""
    query = (
        select(_v.id, _v.account, _v.zone, _v.name, _v.mib, _v.pool, _v.machine)
        .where(among(tx, _v.id, ids), _LACKS)
        .order_by(_v.id)
        .with_for_update()
    )
    return {row.id: Lacking._make(row) for row in tx.execute(query)}


def hold(tx: Tx, *where: ColumnElement[bool]) -> list[Replica]:
    """Rows, held, with their volumes, which are held before them."""
    ids = tx.execute(select(_r.id, _r.volume).where(*where)).all()
    if not ids:
        return []
    volumes = [row.volume for row in ids]
    tx.execute(
        select(_v.id).where(among(tx, _v.id, volumes)).order_by(_v.id).with_for_update()
    ).all()
    query = _ROWS.where(among(tx, _r.id, [row.id for row in ids]), *where)
    return [Replica._make(row) for row in tx.execute(query.with_for_update(of=t.replica))]


def by_id(tx: Tx, ids: Iterable[ReplicaId]) -> dict[ReplicaId, Replica]:
    """Those of these that there are, held."""
    return {row.id: row for row in hold(tx, among(tx, _r.id, ids))}


def of_volumes(tx: Tx, volumes: Iterable[VolumeId]) -> list[Replica]:
    """Every row of these volumes; nobody holds them."""
    rows = tx.execute(_ROWS.where(among(tx, _r.volume, volumes)))
    return [Replica._make(row) for row in rows]


def waiting(tx: Tx) -> list[tuple[ReplicaId, HostId, HostId]]:
    """Those that get no further though the host of the volume's pool is up, with the host of each and that one. Nobody
    holds them.
    """
    first = t.pool.alias("first")
    query = (
        select(_r.id, _to.c.host, first.c.host)
        .join(t.volume, _v.replica == _r.id)
        .join(_to, _to.c.id == _r.target)
        .join(first, first.c.id == _v.pool)
        .join(t.host, t.host.c.id == first.c.host)
        .where(_FOLLOWING, _r.told != "", t.host.c.state == HostState.UP, _to.c.host.is_not(None))
        .order_by(_r.id)
    )
    return list(tx.execute(query).all())


def hold_of(tx: Tx, volumes: Collection[VolumeId]) -> list[Replica]:
    """Every row of these volumes, held."""
    return hold(tx, among(tx, _r.volume, volumes)) if volumes else []


def touching(tx: Tx, pool: PoolId) -> list[Replica]:
    """Rows that have to do with a pool, held."""
    return hold(tx, or_(_r.source == pool, _r.target == pool, _r.held_in == pool))


def left(tx: Tx, erased: Collection[tuple[HostId, VolumeId]]) -> list[Replica]:
    """Those that have ended, of which these hosts have erased what was left, held."""
    if not erased:
        return []
    ended = _r.state == ReplicaState.ENDED
    rows = hold(tx, among(tx, _r.volume, {id_ for _host, id_ in erased}), ended)
    return [row for row in rows if (row.held_by, row.volume) in erased]


def all_ended(tx: Tx) -> list[Replica]:
    """All of which something is still to be erased, held."""
    return hold(tx, _r.state == ReplicaState.ENDED)


def targets(tx: Tx, machines: Collection[MachineId]) -> dict[MachineId, PoolId]:
    """Where the replica of each machine's first disk is, of those that have one."""
    query = (
        select(_v.machine, _r.target)
        .join(t.replica, _r.id == _v.replica)
        .where(among(tx, _v.machine, machines))
        .order_by(_v.machine, _v.position.desc())
    )
    return dict(tx.execute(query).all()) if machines else {}


def sources(tx: Tx, hosts: Collection[HostId]) -> list[PoolId]:
    """Pools of these hosts with volumes that have a whole point elsewhere."""
    query = (
        select(t.pool.c.id)
        .where(among(tx, t.pool.c.host, hosts))
        .where(
            exists().where(_v.pool == t.pool.c.id, _r.id == _v.replica, _FOLLOWING, _r.point > 0)
        )
        .order_by(t.pool.c.id)
    )
    return list(tx.scalars(query)) if hosts else []


def add(tx: Tx, new: Replica, at: datetime) -> None:
    """It is to follow."""
    names = ("id", "volume", "account", "name", "source", "target", "state", "held_in", "mib")
    tx.execute(insert(t.replica).values({n: getattr(new, n) for n in names} | {"begun_at": at}))
    tx.execute(update(t.volume).where(_v.id == new.volume).values(replica=new.id))


def note(tx: Tx, id_: ReplicaId, point: int, at: datetime | None, told: str) -> None:
    """What its host has said."""
    values = {"point": point, "point_at": at, "told": told[:300]}
    tx.execute(update(t.replica).where(_r.id == id_).values(**values))


def resize(tx: Tx, id_: ReplicaId, mib: int) -> None:
    """It holds so much."""
    tx.execute(update(t.replica).where(_r.id == id_).values(mib=mib))


def promote(tx: Tx, row: Replica, mib: int) -> None:
    """The volume is where its replica was; where it was, room is held until that is erased."""
    values = {"state": ReplicaState.PROMOTED, "source": row.pool, "held_in": row.pool, "mib": mib}
    tx.execute(update(t.replica).where(_r.id == row.id).values(**values, told=""))
    here = update(t.volume).where(_v.id == row.volume)
    tx.execute(here.values(pool=row.target, generation=_v.generation + 1))


def end(tx: Tx, row: Replica) -> None:
    """Nobody follows it any more; what is left of it is to be erased where it holds room."""
    tx.execute(update(t.replica).where(_r.id == row.id).values(state=ReplicaState.ENDED, told=""))
    _let_go(tx, [row.id])


def forget(tx: Tx, rows: Iterable[Replica]) -> None:
    """Nothing is left of these."""
    ids = [row.id for row in rows]
    if ids:
        tx.execute(delete(t.replica).where(among(tx, _r.id, ids)))
        _let_go(tx, ids)


def _let_go(tx: Tx, ids: Collection[ReplicaId]) -> None:
    tx.execute(update(t.volume).where(among(tx, _v.replica, ids)).values(replica=None))


def told(tx: Tx, ids: Iterable[ReplicaId]) -> dict[tuple[HostId, str], str]:
    """What hosts are told of these: the bodies of items."""
    item = t.manifest_item.c
    query = select(item.host, item.id, item.body).where(
        item.kind == ItemKind.REPLICA, among(tx, item.id, ids)
    )
    return {(host, id_): body for host, id_, body in tx.execute(query) if body}


def without(tx: Tx, before: datetime) -> int:
    """How many volumes should have had a replica since then, and have none."""
    query = select(func.count()).select_from(t.volume).where(_LACKS, _v.created_at < before)
    return tx.scalar(query) or 0


def behind(
    tx: Tx, before: datetime, most: int
) -> list[tuple[ReplicaId, str, datetime | None, str]]:
    """Replicas whose last whole point is older than that, or that began before and have none: id, name, point, why."""
    late = or_(_r.point_at < before, _r.point_at.is_(None) & (_r.begun_at < before))
    query = (
        select(_r.id, _r.name, _r.point_at, _r.told)
        .where(_FOLLOWING, late)
        .order_by(_r.id)
        .limit(most)
    )
    return [(row[0], row[1], row[2], row[3]) for row in tx.execute(query)]
