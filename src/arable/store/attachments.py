"""Volumes on their way to or from machines: what waits for hosts, and how it is written down that it is over."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Select, case, exists, select, text, update

from arable.domain.ids import AccountId, HostId, MachineId, OperationId, PoolId, VolumeId
from arable.domain.volume import OFF, SURELY_MADE
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.lookup import Among, Lookup
from arable.store.many import among
from arable.store.rows import change_rows

TOPIC = "volumes"
"""Nudged when there may be something to end."""

# Word for word as the index has it.
PENDING = text("volume.change <> ''")
_ANY = "select machine from volume where change <> '' order by machine limit 1"
# One that is being set back to a snapshot, or carried to another pool, waits for no guest.
_NO_GUEST = text("volume.change not in ('restore', 'migrate')")
_v, _m = t.volume.c, t.machine.c


class Pending(NamedTuple):
    """A volume whose change is not over. `told` is what is said of it already."""

    id: VolumeId
    machine: MachineId
    machine_name: str
    account: AccountId
    name: str
    change: str
    operation: OperationId | None
    shared: bool
    told: str
    view: bool = False


class Alone(NamedTuple):
    """A volume that is of no machine, or stays when its machine goes."""

    id: VolumeId
    account: AccountId
    name: str
    mib: int
    pool: PoolId | None
    operation: OperationId | None
    erasing: bool


def _pending(among: Among) -> Select[tuple[object, ...]]:
    return (
        select(
            _v.id,
            _v.machine,
            _m.name,
            _v.account,
            _v.name,
            _v.change,
            _v.operation,
            _v.shared,
            _v.told,
            _v.view_of.is_not(None),
        )
        .join(t.machine, _m.id == _v.machine)
        .where(PENDING, _NO_GUEST, among(_v.machine))
        .order_by(_v.id)
    )


_of = Lookup(_pending)


def pending(tx: Tx, machines: Iterable[MachineId]) -> list[Pending]:
    """Those of these machines, which the caller holds."""
    return [Pending._make(row) for row in _of.rows(tx, machines)]


def any_pending(tx: Tx) -> bool:
    """Whether anything is under way anywhere: one look at a small index.

    In its order, or PostgreSQL, which takes it that most volumes are so, looks through all of them for the first one.
    """
    return tx.exec_driver_sql(_ANY).first() is not None


def stranded(tx: Tx) -> list[MachineId]:
    """Machines that run nowhere any more and have volumes with something under way."""
    states = [state.value for state in OFF]
    query = (
        select(_m.id)
        .where(_m.host.is_(None), _m.state.in_(states))
        .where(exists(select(_v.id).where(PENDING, _NO_GUEST, _v.machine == _m.id)))
    )
    return list(tx.scalars(query.order_by(_m.id)))


def plugged(tx: Tx, ids: Sequence[VolumeId]) -> None:
    """These are their machines', and nothing is under way."""
    if ids:
        changed = update(t.volume).where(among(tx, _v.id, ids))
        tx.execute(changed.values(change="", operation=None, told="", generation=_v.generation + 1))


def cutting(tx: Tx, ids: Sequence[VolumeId]) -> None:
    """Their guests have let go of these; their storage hosts are still to cut them off."""
    if ids:
        tx.execute(update(t.volume).where(among(tx, _v.id, ids)).values(change="cut", told=""))


def seen_made(tx: Tx, machines: Sequence[MachineId]) -> None:
    """These machines run as they were told to: what they have is there."""
    if machines:
        told = select(_m.told).where(_m.id == _v.machine).scalar_subquery()
        of_these = update(t.volume).where(among(tx, _v.machine, machines))
        tx.execute(of_these.where(_v.stays, _v.made == 0).values(made=told))


def alone(tx: Tx, ids: Sequence[VolumeId]) -> None:
    """These are of no machine any more."""
    if ids:
        ran = select(_m.ran).where(_m.id == _v.machine).scalar_subquery()
        made = case((_v.stays, _v.made), else_=ran)
        tx.execute(
            update(t.volume)
            .where(among(tx, _v.id, ids))
            .values(
                machine=None,
                position=0,
                stays=True,
                made=case((made == 0, 0), else_=SURELY_MADE),
                change="",
                operation=None,
                told="",
                generation=_v.generation + 1,
            )
        )


def let_go(tx: Tx, ids: Sequence[VolumeId]) -> list[tuple[HostId, PoolId, VolumeId]]:
    """These views are no machine's any more; where what was made for them is to be erased."""
    if not ids:
        return []
    gone = {"machine": None, "position": 0, "change": "", "operation": None, "told": ""}
    changed = update(t.volume).where(among(tx, _v.id, ids))
    tx.execute(changed.values(**gone, erasing=True, generation=_v.generation + 1))
    query = select(t.pool.c.host, _v.pool, _v.id).join(t.pool, t.pool.c.id == _v.pool)
    rows = tx.execute(query.where(among(tx, _v.id, ids)).order_by(_v.id))
    return [(HostId(host), PoolId(pool), VolumeId(id_)) for host, pool, id_ in rows]


def tell(tx: Tx, told: Mapping[VolumeId, str]) -> None:
    """Why their changes are not over yet."""
    change_rows(tx, t.volume, ("told",), [(text, id_) for id_, text in sorted(told.items())])


def staying(tx: Tx, machines: Iterable[MachineId]) -> list[Alone]:
    """Volumes of these machines that are not erased with them."""
    query = select(*(_v[name] for name in Alone._fields))
    found = tx.execute(query.where(among(tx, _v.machine, machines), _v.stays))
    return [Alone._make(row) for row in found]


def lost(tx: Tx, pool: PoolId) -> list[Alone]:
    """Volumes of no machine in a pool that is about to be given up."""
    query = select(*(_v[name] for name in Alone._fields))
    found = tx.execute(query.where(_v.pool == pool, _v.machine.is_(None)))
    return [Alone._make(row) for row in found]


def erased(tx: Tx, ids: Sequence[VolumeId]) -> list[Alone]:
    """Those of these that were to be erased by themselves."""
    query = select(*(_v[name] for name in Alone._fields))
    found = tx.execute(query.where(among(tx, _v.id, ids), _v.machine.is_(None), _v.erasing))
    return [Alone._make(row) for row in found]


def pool_host(tx: Tx, pool: PoolId) -> HostId | None:
    """The host whose pool it is."""
    return tx.execute(select(t.pool.c.host).where(t.pool.c.id == pool)).scalar()
