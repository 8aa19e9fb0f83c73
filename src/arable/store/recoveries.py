"""Machines that are brought back from lost hosts, and the operations that show it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import func, select, update

from arable.domain.host import HostState
from arable.domain.ids import HostId, MachineId, OperationId
from arable.domain.operation import Operation, OperationState
from arable.store import operations
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import change_rows

KIND = "host.recover"

_m, _h, _o = t.machine.c, t.host.c, t.operation.c


class LostHost(NamedTuple):
    """A host that nobody waits for any more."""

    id: HostId
    name: str
    powered_off: bool


class Recovering(NamedTuple):
    """A machine on its way back."""

    id: MachineId
    operation: OperationId
    state: str
    wish: str
    attention: bool
    changed_at: int


def lost_hosts(tx: Tx) -> dict[HostId, LostHost]:
    """Hosts that are down."""
    query = select(_h.id, _h.name, _h.powered_off).where(_h.state == HostState.DOWN)
    return {row.id: LostHost(*row) for row in tx.execute(query)}


def hold(tx: Tx, hosts: Iterable[HostId]) -> dict[HostId, LostHost]:
    """Those of these hosts that are down, and stay so until the end of this transaction."""
    query = select(_h.id, _h.name, _h.powered_off).where(
        among(tx, _h.id, hosts), _h.state == HostState.DOWN
    )
    rows = tx.execute(query.order_by(_h.id).with_for_update(key_share=True))
    return {row.id: LostHost(*row) for row in rows}


def machines(tx: Tx, hosts: Iterable[HostId], limit: int) -> list[MachineId]:
    """Highly available machines that should run on these hosts, the oldest first."""
    query = (
        select(_m.id)
        .where(among(tx, _m.host, hosts), _m.highly_available, _m.wish == "running")
        .where(_m.state.in_(("running", "starting")))
        .order_by(_m.id)
        .limit(limit)
    )
    return list(tx.scalars(query))


def recovering(tx: Tx) -> list[Recovering]:
    """Machines that have not arrived yet, or of which nobody noticed that they have."""
    query = select(_m.id, _m.recovery, _m.state, _m.wish, _m.attention, _m.changed_at)
    rows = tx.execute(query.where(_m.recovery.is_not(None)).order_by(_m.id))
    return [Recovering._make(row) for row in rows]


def arrived(tx: Tx, machines: Iterable[MachineId]) -> None:
    """They are on their way back no more."""
    tx.execute(update(t.machine).where(among(tx, _m.id, machines)).values(recovery=None))


def wake(tx: Tx, machines: Iterable[MachineId]) -> None:
    """Those that wait for room are to be looked at again."""
    waiting = (among(tx, _m.id, machines), _m.state == "waiting")
    tx.execute(update(t.machine).where(*waiting).values(attention=True))


def fence(tx: Tx, without_power: Mapping[MachineId, HostId]) -> set[MachineId]:
    """The hosts that had the right to run these before are off; those of which that was not known yet."""
    done: set[MachineId] = set()
    for host in sorted(set(without_power.values())):
        ids = [machine for machine, had in without_power.items() if had == host]
        changed = (
            update(t.machine)
            .where(among(tx, _m.id, ids), _m.fenced.is_(None), _m.host != host)
            .values(fenced=host, attention=True, generation=_m.generation + 1)
            .returning(_m.id)
        )
        done |= set(tx.scalars(changed))
    return done


def running(tx: Tx) -> dict[HostId, tuple[OperationId, int]]:
    """The operations under way, by the lost host, and how many of their machines are counted as pending."""
    query = select(_o.target, _o.id, _o.pending).where(
        _o.state == OperationState.RUNNING, _o.kind == KIND
    )
    return {HostId(row.target): (row.id, row.pending) for row in tx.execute(query)}


def begin(tx: Tx, operation: Operation) -> None:
    """One for a host that has none."""
    operations.add(tx, operation)


def more(tx: Tx, operation: OperationId, machines: int) -> None:
    """So many machines more are brought back by it."""
    changed = update(t.operation).where(_o.id == operation)
    tx.execute(changed.values(total=_o.total + machines, pending=_o.pending + machines))


def left(tx: Tx, of: Iterable[OperationId]) -> Mapping[OperationId, int]:
    """How many machines each of these still brings back."""
    query = (
        select(_m.recovery, func.count())
        .where(_m.recovery.is_not(None), among(tx, _m.recovery, of))
        .group_by(_m.recovery)
    )
    return dict(tx.execute(query).all())


def told(tx: Tx, rows: Iterable[tuple[str, MachineId]]) -> None:
    """Why machines of a lost host are not brought back, as JSON."""
    change_rows(tx, t.machine, ("why",), list(rows))


def names(tx: Tx, hosts: Iterable[HostId]) -> dict[HostId, tuple[str, str]]:
    """Name and state of each."""
    query = select(_h.id, _h.name, _h.state).where(among(tx, _h.id, hosts))
    return {id_: (name, state) for id_, name, state in tx.execute(query)}
