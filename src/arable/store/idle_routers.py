"""Which networks' routing appliances have something to do, and which have had nothing for how long."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, Update, and_, bindparam, exists, or_, select, update

from arable.domain.ids import NetworkId
from arable.domain.network import ApplianceState
from arable.store import schema
from arable.store.database import Tx
from arable.store.many import among
from arable.store.routing import NETWORK, NetworkRow

_n = schema.network.c


def note_busy(tx: Tx, networks: Sequence[NetworkId]) -> None:
    """These networks' appliances have something to do."""
    if networks:
        tx.execute(update(schema.network).where(among(tx, _n.id, networks)).values(idle_since=None))


def _busy() -> Any:
    """Whether a machine of the network runs or wants to."""
    nic, machine = schema.nic.c, schema.machine.c
    return exists(
        select(nic.id)
        .join(schema.machine, machine.id == nic.machine)
        .where(
            nic.network == _n.id,
            or_(
                machine.host.is_not(None),
                and_(machine.wish == "running", machine.state == "waiting"),
            ),
        )
    )


def missed(tx: Tx, limit: int) -> list[NetworkId]:
    """Networks whose machines run without the appliance: what it was on is lost, and the next one did not start."""
    return list(tx.scalars(_missed(), {"limit": limit}))


@cache
def _missed() -> Select[tuple[NetworkId]]:
    nic, machine = schema.nic.c, schema.machine.c
    on = select(nic.id).join(schema.machine, machine.id == nic.machine)
    there = exists(on.where(nic.network == _n.id, machine.host.is_not(None)))
    absent = (_n.state == "ready", _n.appliance_state == ApplianceState.ABSENT)
    return select(_n.id).where(*absent, there).order_by(_n.id).limit(bindparam("limit"))


def mark_idle(tx: Tx, at: datetime) -> None:
    """Note since when networks have been idle, and forget it of those that are not."""
    idle, busy = _idle()
    tx.execute(idle, {"now": at})
    tx.execute(busy)


@cache
def _idle() -> tuple[Update, Update]:
    running = _n.appliance_state.in_((ApplianceState.STARTING, ApplianceState.RUNNING))
    idle = update(schema.network).where(running, _n.idle_since.is_(None), ~_busy())
    busy = update(schema.network).where(_n.idle_since.is_not(None), _busy())
    return idle.values(idle_since=bindparam("now")), busy.values(idle_since=None)


def forgive(tx: Tx) -> None:
    """What hosts failed to start for those who waited need not fail for who comes next: forget it when nobody waits."""
    tx.execute(_forgive())


@cache
def _forgive() -> Update:
    absent = _n.appliance_state == ApplianceState.ABSENT
    held = update(schema.network).where(absent, _n.appliance_failed != {}, ~_busy())
    return held.values(appliance_failed={})


_IDLE_SINCE = (
    NETWORK.where(
        _n.idle_since < bindparam("before"),
        _n.appliance_state.in_((ApplianceState.STARTING, ApplianceState.RUNNING)),
    )
    .order_by(_n.id)
    .limit(bindparam("most"))
)


def idle_since_before(tx: Tx, limit: datetime, most: int) -> list[NetworkRow]:
    """Networks whose appliance has had nothing to do since before `limit`."""
    return [
        NetworkRow._make(row) for row in tx.execute(_IDLE_SINCE, {"before": limit, "most": most})
    ]
