"""Members of balancers that are waited for: what somebody removes, and machines that are to stop, with their operations."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, insert, select, update

from arable.domain.ids import BalancerId, MachineId, NetworkId, NicId, OperationId
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

_d, _m, _n, _b = t.member_drain.c, t.balancer_member.c, t.nic.c, t.balancer.c
_COLUMNS = (_d.operation, _d.machine, _d.balancer, _d.since, _d.until, _d.told)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDrain:
    """Somebody waits for the end of a member's sessions, until a moment at most. Without `balancer`: of all of the machine's,
    which is stopped then.
    """

    operation: OperationId
    machine: MachineId
    balancer: BalancerId | None
    since: datetime
    until: datetime
    told: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A machine's port that a balancer leads to; whether the balancer's router runs."""

    balancer: BalancerId
    nic: NicId
    network: NetworkId
    runs: bool


def add(tx: Tx, one: MemberDrain) -> None:
    """Wait for it."""
    row = {
        "operation": one.operation,
        "machine": one.machine,
        "balancer": one.balancer,
        "since": one.since,
        "until": one.until,
        "told": one.told,
    }
    tx.execute(insert(t.member_drain).values(**row))


def note(tx: Tx, operation: OperationId, told: str) -> None:
    """What was said of it last."""
    tx.execute(update(t.member_drain).where(_d.operation == operation).values(told=told))


def drop(tx: Tx, operations: Iterable[OperationId]) -> None:
    """Nobody waits for these any more."""
    tx.execute(delete(t.member_drain).where(among(tx, _d.operation, operations)))


def every(tx: Tx, limit: int) -> list[MemberDrain]:
    """Those that are waited for, the oldest first."""
    return _found(tx, select(*_COLUMNS).order_by(_d.operation).limit(limit))


def of_machine(tx: Tx, machine: MachineId) -> list[MemberDrain]:
    """Those of one machine."""
    return _found(tx, select(*_COLUMNS).where(_d.machine == machine).order_by(_d.operation))


def watched(tx: Tx, balancers: Iterable[BalancerId]) -> set[BalancerId]:
    """Of these, whose news somebody waits for still."""
    leads = (
        select(_m.balancer)
        .join(t.nic, _n.id == _m.nic)
        .join(t.member_drain, _d.machine == _n.machine)
    )
    return set(tx.scalars(leads.where(among(tx, _m.balancer, balancers))))


def places(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, list[Place]]:
    """Where these machines are members."""
    net = t.network.c
    query = (
        select(_n.machine, _m.balancer, _m.nic, net.id, net.appliance_state)
        .join(t.nic, _n.id == _m.nic)
        .join(t.balancer, _b.id == _m.balancer)
        .join(t.network, net.id == _b.network)
        .where(among(tx, _n.machine, machines))
        .order_by(_m.balancer, _m.nic)
    )
    found: dict[MachineId, list[Place]] = {}
    for machine, balancer, nic, network, state in tx.execute(query):
        found.setdefault(machine, []).append(Place(balancer, nic, network, state == "running"))
    return found


def pause(tx: Tx, machine: MachineId, *, paused: bool) -> list[BalancerId]:
    """Nobody is led to this machine any more, or somebody again; the balancers for which that is another word."""
    nics = select(_n.id).where(_n.machine == machine)
    changed = (
        update(t.balancer_member)
        .where(_m.nic.in_(nics), _m.paused != paused)
        .values(paused=paused)
        .returning(_m.balancer)
    )
    found = sorted(set(tx.scalars(changed)))
    tell(tx, found)
    return found


def tell(tx: Tx, balancers: Iterable[BalancerId]) -> None:
    """The routers of these are told anew."""
    ids = list(balancers)
    if ids:
        led = select(_b.network).where(among(tx, _b.id, ids))
        tx.execute(update(t.network).where(t.network.c.id.in_(led)).values(attention=True))


def _found(tx: Tx, query: Select[Any]) -> list[MemberDrain]:
    return [
        MemberDrain(
            operation=operation,
            machine=machine,
            balancer=balancer,
            since=since,
            until=until,
            told=told,
        )
        for operation, machine, balancer, since, until, told in tx.execute(query)
    ]
