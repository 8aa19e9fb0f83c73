"""How storage pools are kept. What their hosts say of them is written by `sights.py`."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, exists, or_, select, update

from arable.domain.host import HostState
from arable.domain.ids import HostId, PodId, PoolId, ZoneId
from arable.domain.pool import FILE, SHARED, Pool
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

WHAT = "storage pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFilter:
    """Which pools of a list."""

    zone: ZoneId | None = None
    host: HostId | None = None


class SharedPool(NamedTuple):
    """A shared pool, and how many MiB may be reserved there yet."""

    id: PoolId
    host: HostId
    host_name: str
    pod: PodId
    address: str
    free_mib: int


def add(tx: Tx, pool: Pool) -> None:
    """A new pool."""
    kept.add(tx, t.pool, pool)


def get(tx: Tx, pool: PoolId, *, lock: bool = False) -> Pool:
    """Raises `NotFound`."""
    return kept.get(tx, t.pool, Pool, WHAT, t.pool.c.id == pool, lock=lock)


def named(tx: Tx, zone: ZoneId, name: str) -> list[Pool]:
    """The pools of a zone that are called so, by name or id: names are their hosts' and may be given twice."""
    c = t.pool.c
    called = or_(c.name == name, c.id == name)
    rows = tx.execute(select(t.pool).where(c.zone == zone, called).order_by(c.id).limit(2))
    return [kept.value(Pool, row) for row in rows]


def touch(tx: Tx, pool: Pool) -> Pool:
    """One generation later: something that is shown with it changed."""
    after = replace(pool, generation=pool.generation + 1)
    kept.save(tx, t.pool, after, WHAT)
    return after


def page(tx: Tx, where: PoolFilter, *, after: str | None = None, limit: int = 100) -> list[Pool]:
    """Pools by age."""
    conditions: list[ColumnElement[bool]] = []
    if where.zone is not None:
        conditions.append(t.pool.c.zone == where.zone)
    if where.host is not None:
        conditions.append(t.pool.c.host == where.host)
    return kept.page(tx, t.pool, Pool, conditions, after=after, limit=limit)


def of_host(tx: Tx, pool: PoolId) -> Pool | None:
    """The pool that a host has as its own."""
    row = tx.execute(select(t.pool).where(t.pool.c.id == pool)).first()
    return None if row is None else kept.value(Pool, row)


def hosts_of(tx: Tx, pools: Iterable[PoolId]) -> dict[PoolId, HostId]:
    """Whose these are."""
    row = t.pool.c
    query = select(row.id, row.host).where(among(tx, row.id, pools), row.host.is_not(None))
    return {found.id: found.host for found in tx.execute(query)}


def serve(tx: Tx, pool: PoolId, kind: str, address: str) -> None:
    """How it is reached, as its host says. Machines with disks there are told anew."""
    tx.execute(update(t.pool).where(t.pool.c.id == pool).values(kind=kind, address=address))
    volume, machine = t.volume.c, t.machine
    there = select(volume.machine).where(volume.pool == pool)
    placed = (machine.c.id.in_(there), machine.c.host.is_not(None))
    tx.execute(update(machine).where(*placed).values(attention=True))


def shared(tx: Tx, zone: ZoneId) -> list[SharedPool]:
    """The zone's pools for disks that several hosts reach, whose hosts can take any now; the emptiest first."""
    host, pool = t.host.c, t.pool.c
    room = host.disk_mib * host.disk_percent // 100 - host.reserved_disk_mib
    query = (
        select(pool.id, host.id, host.name, host.pod, pool.address, room)
        .join(t.host, host.id == pool.host)
        .join(t.pod, t.pod.c.id == host.pod)
        .where(pool.zone == zone, pool.kind.in_(SHARED), pool.address != "")
        .where(host.state == HostState.UP, ~host.maintenance, ~host.disk_full, t.pod.c.enabled)
        .order_by(room.desc(), pool.id)
    )
    return [SharedPool(*row) for row in tx.execute(query)]


def mounts(tx: Tx, zone: ZoneId) -> dict[PoolId, frozenset[HostId]]:
    """The zone's pools of files, and which hosts of their pods say that they have them mounted."""
    keepers = t.host.alias("keeper")
    host, keeper, pool = t.host.c, keepers.c, t.pool.c
    query = (
        select(pool.id, host.id, host.facts)
        .join(keepers, keeper.id == pool.host)
        .join(t.host, host.pod == keeper.pod)
        .where(pool.zone == zone, pool.kind == FILE)
    )
    found: dict[PoolId, set[HostId]] = {}
    for id_, each, facts in tx.execute(query):
        there = found.setdefault(id_, set())
        if id_ in facts.get("mounts", ()):
            there.add(each)
    return {id_: frozenset(hosts) for id_, hosts in found.items()}


def pods(tx: Tx, pools: Iterable[PoolId]) -> dict[PoolId, PodId]:
    """The pod of each of these pools' hosts."""
    query = select(t.pool.c.id, t.host.c.pod).join(t.host, t.host.c.id == t.pool.c.host)
    return dict(tx.execute(query.where(among(tx, t.pool.c.id, pools))).all())


def filling(tx: Tx, percent: int) -> list[tuple[PoolId, str, str, int, int]]:
    """Pools with so much in use, in percent: id, name, kind, MiB in all, MiB in use."""
    row = t.pool.c
    query = (
        select(row.id, row.name, row.kind, row.total_mib, row.used_mib)
        .where(row.total_mib > 0, row.used_mib * 100 >= row.total_mib * percent)
        .order_by(row.id)
    )
    return [(each[0], each[1], each[2], each[3], each[4]) for each in tx.execute(query)]


def has_volumes(tx: Tx, pool: PoolId) -> bool:
    """Whether any volume is there, is on its way there, or is still being erased."""
    c = t.carry.c
    coming = or_(c.left_in == pool, and_(c.left_in.is_(None), c.target == pool))
    kept_there = exists().where(or_(t.replica.c.held_in == pool, t.replica.c.target == pool))
    there = or_(exists().where(t.volume.c.pool == pool), exists().where(coming), kept_there)
    return bool(tx.execute(select(there)).scalar())
