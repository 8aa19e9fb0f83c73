"""The two routers of a network that has two: which one leads, and which networks lack the other one."""

from functools import cache

from sqlalchemy import Select, bindparam, select, text, update

from arable.domain.ids import NetworkId
from arable.domain.network import ApplianceState, NetworkState
from arable.store import attention, schema, tier_notes
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.routing import PRESENT, NetworkRow

_n = schema.network.c


def turn(tx: Tx, row: NetworkRow) -> NetworkRow:
    """The other one of the (locked) network's pair leads; if it is the first that runs, machines have waited for it."""
    turned = row._replace(
        appliance_host=row.standby_host,
        appliance_state=row.standby_state,
        appliance_number=row.standby_number,
        appliance_seen=row.standby_seen,
        standby_host=row.appliance_host,
        standby_state=row.appliance_state,
        standby_number=row.appliance_number,
        standby_seen=row.appliance_seen,
    )
    names = [f"{part}_{what}" for part in ("appliance", "standby") for what in _TURNED]
    values = {name: getattr(turned, name) for name in names}
    told = {"appliance_told": _n.standby_told, "standby_told": _n.appliance_told}
    held = {"appliance_mib": _n.standby_mib, "standby_mib": _n.appliance_mib}
    tx.execute(update(schema.network).where(_n.id == row.id).values(values | told | held))
    if turned.appliance_state == ApplianceState.RUNNING != row.appliance_state:
        attention.wake_machines(tx, [row.id])
        nudge(tx, "machines")
        tier_notes.of_networks(tx, [row.id])
    return turned


_TURNED = ("host", "state", "number", "seen")


def alone(tx: Tx, limit: int) -> list[NetworkId]:
    """Networks whose appliance should be one of two, and has no other one."""
    return list(tx.scalars(_alone(), {"limit": limit}))


@cache
def _alone() -> Select[tuple[NetworkId]]:
    lacks = text("redundant and standby_host is null")
    led = (_n.state == NetworkState.READY, _n.appliance_state.in_(PRESENT))
    return select(_n.id).where(lacks, *led).order_by(_n.id).limit(bindparam("limit"))
