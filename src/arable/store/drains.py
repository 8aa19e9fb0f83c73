"""Hosts that are being emptied for maintenance: what is there, and the operations that show it."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import delete, insert, select, update

from arable.domain.host import HostState
from arable.domain.ids import ElementId, HostId, MachineId, OperationId, TierId
from arable.domain.machine import MachineState, MachineWish
from arable.domain.operation import OperationState
from arable.store import attention, moves
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.moves import MoveRow

KIND = "host.drain"

_h, _m, _o, _v = t.host.c, t.machine.c, t.operation.c, t.move.c

_UNDER_WAY = select(_o.target, _o.id, _o.total, _o.pending).where(
    _o.state == OperationState.RUNNING, _o.kind == KIND
)
_EMPTIED = select(_h.id, _h.name, _h.maintenance_stops).where(
    _h.maintenance, _h.state == HostState.UP
)
_s, _e = t.maintenance_stop.c, t.element.c
_OVER = (
    select(_s.machine)
    .join(t.host, _s.host == _h.id)
    .where(~_h.maintenance, _h.state.in_((HostState.UP, HostState.ASLEEP)))  # who sleeps is woken
    .order_by(_s.machine)
    .limit(500)
)


class Emptied(NamedTuple):
    """A host in maintenance that works. `stops`: what can't leave it is stopped."""

    name: str
    stops: bool


class Left(NamedTuple):
    """A machine that is still there. Its disks are on these storage hosts; None: on its own."""

    id: MachineId
    name: str
    host: HostId
    state: str
    wish: str
    stores: tuple[HostId | None, ...]
    move: MoveRow | None

    def ends(self) -> bool:
        """If it is to be stopped where it can't leave: whether it is there only until it is off."""
        if self.wish == MachineWish.RUNNING:
            return self.state in (MachineState.RUNNING, MachineState.STARTING)
        return self.state == MachineState.STOPPING


class Drain(NamedTuple):
    """An operation under way."""

    operation: OperationId
    total: int
    pending: int


def hosts(tx: Tx) -> dict[HostId, Emptied]:
    """Those in maintenance that work."""
    return {row.id: Emptied(row.name, row.maintenance_stops) for row in tx.execute(_EMPTIED)}


def left(tx: Tx, hosts: Iterable[HostId]) -> dict[HostId, list[Left]]:
    """What is on these, the oldest first."""
    query = select(_m.id, _m.name, _m.host, _m.state, _m.wish).where(among(tx, _m.host, hosts))
    rows = tx.execute(query.order_by(_m.id)).all()
    ids = [row.id for row in rows]
    volumes, moved = attention.volumes(tx, ids), moves.of(tx, ids)
    found: dict[HostId, list[Left]] = {}
    for row in rows:
        stores = tuple(v.host if v.address else None for v in volumes.get(row.id, ()))
        found.setdefault(row.host, []).append(Left(*row, stores, moved.get(row.id)))
    return found


def running(tx: Tx) -> dict[HostId, Drain]:
    """The operations under way, by host."""
    found = tx.execute(_UNDER_WAY)
    return {HostId(row.target): Drain(row.id, row.total, row.pending) for row in found}


def more(tx: Tx, operation: OperationId, machines: int) -> None:
    """So many more are to go."""
    changed = update(t.operation).where(_o.id == operation)
    tx.execute(changed.values(total=_o.total + machines, pending=_o.pending + machines))


def waiting(tx: Tx, hosts: Iterable[HostId]) -> list[MachineId]:
    """Machines that wait for their turn to leave hosts, because of maintenance: of all but these hosts."""
    query = select(_v.id, _v.source).where(_v.stage == "waiting", _v.why == "maintenance")
    emptied = set(hosts)
    return [row.id for row in tx.execute(query) if row.source not in emptied]


def stopped(tx: Tx, machines: Iterable[tuple[MachineId, HostId]]) -> None:
    """These are to start again when the maintenance of these hosts is over."""
    rows = [{"machine": machine, "host": host} for machine, host in machines]
    if rows:
        forget(tx, [row["machine"] for row in rows])
        tx.execute(insert(t.maintenance_stop), rows)


def forget(tx: Tx, machines: Iterable[str]) -> None:
    """These are not to start again by themselves."""
    tx.execute(delete(t.maintenance_stop).where(among(tx, _s.machine, machines)))


def over(tx: Tx) -> list[MachineId]:
    """Some that were stopped for a maintenance that is over."""
    return list(tx.execute(_OVER).scalars())


def elements(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, tuple[TierId, ElementId]]:
    """Those of these machines that are elements of farms."""
    query = select(_e.machine, _e.tier, _e.id).where(among(tx, _e.machine, machines))
    return {row.machine: (row.tier, row.id) for row in tx.execute(query)}
