"""Machines that are brought back from lost hosts, and the operations that show it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, update

from arable.domain.host import HostState
from arable.domain.ids import HostId, MachineId, OperationId
from arable.domain.manifest import ExportState
from arable.domain.move import BOUND
from arable.domain.operation import Operation, OperationState
from arable.store import operations
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import change_rows

KIND = "host.recover"

_m, _h, _o, _e, _v = t.machine.c, t.host.c, t.operation.c, t.export.c, t.move.c


# Asked in each round, so put together once.
_LOST = select(_h.id, _h.name, _h.powered_off).where(_h.state == HostState.DOWN)
_RECOVERING = (
    select(_m.id, _m.recovery, _m.state, _m.wish, _m.attention, _m.changed_at)
    .where(_m.recovery.is_not(None))
    .order_by(_m.id)
)
_UNDER_WAY = select(_o.target, _o.id, _o.pending).where(
    _o.state == OperationState.RUNNING, _o.kind == KIND
)


class LostHost(NamedTuple):
    """A host that nobody waits for any more: it is down, or silent, and then only some of its machines are lost."""

    id: HostId
    name: str
    powered_off: bool
    state: str = HostState.DOWN


class Recovering(NamedTuple):
    """A machine on its way back."""

    id: MachineId
    operation: OperationId
    state: str
    wish: str
    attention: bool
    changed_at: datetime


def lost_hosts(tx: Tx) -> dict[HostId, LostHost]:
    """Hosts that are down."""
    return {row.id: LostHost(*row) for row in tx.execute(_LOST)}


_STAYS = ~select(_v.id).where(_v.id == _m.id, _v.stage.in_(BOUND)).exists()
_silent = (_h.state == HostState.SILENT) & ~_h.maintenance
"""Somebody is at work at one in maintenance, which may be why it is silent."""


def hold(tx: Tx, hosts: Iterable[HostId]) -> dict[HostId, LostHost]:
    """Those of these hosts that are down or silent, and stay so until the end of this transaction."""
    query = select(_h.id, _h.name, _h.powered_off, _h.state).where(
        among(tx, _h.id, hosts), (_h.state == HostState.DOWN) | _silent
    )
    rows = tx.execute(query.order_by(_h.id).with_for_update(key_share=True))
    return {row.id: LostHost(*row) for row in rows}


def machines(tx: Tx, hosts: Iterable[HostId], limit: int) -> list[MachineId]:
    """Highly available machines that should run on these hosts, the oldest first.

    But for those that move: that has to be taken back before anybody knows whose they are, and may be done by now.
    """
    query = (
        select(_m.id)
        .where(_STAYS)
        .where(among(tx, _m.host, hosts), _m.highly_available, _m.wish == "running")
        .where(_m.state.in_(("running", "starting")))
        .order_by(_m.id)
        .limit(limit)
    )
    return list(tx.scalars(query))


_held = (_e.state == ExportState.HELD) & (_e.holder == _m.host) & (_e.epoch == _m.epoch)
_never = (_e.state == ExportState.FREE) & (_e.epoch < _m.epoch) & (_e.generation >= _m.told)
_RUN_OUT = (
    select(_m.id, _m.host, _m.epoch)
    .join(t.export, _e.machine == _m.id)
    # Silent hosts first, of which there are few: a join goes through all machines.
    .where(_m.host.in_(select(_h.id).where(_silent)))
    .where(_STAYS, _m.highly_available, _m.wish == "running")
    .where(_m.state.in_(("running", "starting")), (_held & _e.lapsed) | _never)
    .order_by(_m.id)
    .limit(bindparam("most"))
)


def run_out(tx: Tx, limit: int) -> dict[MachineId, tuple[HostId, int]]:
    """Highly available machines that should run on silent hosts and can't, with that host and epoch, the oldest first.

    Their storage host says that the lease was not renewed in its time, or was never asked for. One that was let go is
    another matter: its guest has shut itself down. As above but for those that move.
    """
    return {row.id: (row.host, row.epoch) for row in tx.execute(_RUN_OUT, {"most": limit})}


def recovering(tx: Tx) -> list[Recovering]:
    """Machines that have not arrived yet, or of which nobody noticed that they have."""
    return [Recovering._make(row) for row in tx.execute(_RECOVERING)]


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
    return {HostId(row.target): (row.id, row.pending) for row in tx.execute(_UNDER_WAY)}


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
