"""Pairs of routing appliances: that there are two, and which of them leads.

A network that is to be redundant has two appliances, told the same, on two hosts; they agree among themselves who leads
(docs/decisions/0042). What is kept of the network's appliance is always of the one that was seen to lead last, so whoever
asks a network's router asks that one. Nothing here is needed for one to take the other's place: it is written down.
"""

import logging
from datetime import datetime

from arable.controllers import appliances, standbys
from arable.domain.ids import HostId, ZoneId
from arable.domain.manifest import GIVE_UP, ApplianceSeen
from arable.domain.network import ApplianceState
from arable.domain.router_runtime import RouterRuntime
from arable.store import incarnations, router_memory, router_pairs, routing
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.routing import NetworkRow

log = logging.getLogger(__name__)

SECONDS = 5
MOST = 200
NOWHERE = "no other host of the zone that can run routing appliances is up"
NO_MACHINES = "no other host of the zone that can run routing appliances as virtual machines is up"
NO_MEMORY = "no other host of the zone has memory for a router that is a virtual machine"


def attend(tx: Tx, at: datetime) -> int:  # noqa: ARG001 - a controller takes the time
    """One round: each pair of which one is missing gets another one. How many were started."""
    if incarnations.taking_stock(tx):
        return 0
    starting: list[NetworkRow] = []
    by_zone: dict[ZoneId, appliances.Routers] = {}
    for row in routing.networks_by_id(tx, router_pairs.alone(tx, MOST)):
        if not row.redundant or row.standby_host or row.appliance_host is None:
            continue
        routers = by_zone.get(row.zone)
        if routers is None:
            routers = by_zone[row.zone] = appliances.Routers.of(tx, row.zone)
        tried = appliances.failed(row)
        host = routers.take(tx, {*tried, row.appliance_host}, row.runtime)
        if host is None:
            nowhere = NOWHERE
            if row.runtime is RouterRuntime.VM:
                nowhere = NO_MEMORY if routers.full else NO_MACHINES
            routing.note_standby(tx, row.id, next(iter(tried.values()), nowhere))
            if tried and row.appliance_state == ApplianceState.RUNNING:
                routing.note_failed(tx, row.id, {})  # all of them were tried: begin again
            continue
        routing.set_standby(tx, row.id, ApplianceState.STARTING, host, "")
        router_memory.note(tx, row.id, routers.mib(host, row.runtime), standby=True)
        if not row.appliance_number:  # it was alone until now
            row = routing.numbered(tx, row)  # noqa: PLW2901 - the row as it is from now on
        there = routing.numbered(tx, row, standby=True)
        starting.append(there._replace(standby_host=host, standby_state=ApplianceState.STARTING))
    appliances.tell(tx, starting, with_leases=True)
    return len(starting)


def seen(tx: Tx, row: NetworkRow, told: ApplianceSeen) -> NetworkRow:
    """What the host of the one that stood by says of it; the network as it is by that."""
    if row.standby_state not in routing.PRESENT:
        return row
    if not told.running:
        routing.note_standby(tx, row.id, told.told)
        if row.standby_state == ApplianceState.STARTING and told.tries >= GIVE_UP:
            give_up(tx, row, told.told)
        return row
    if row.standby_state == ApplianceState.STARTING:
        routing.set_standby(tx, row.id, ApplianceState.RUNNING, row.standby_host, "")
        row = row._replace(standby_state=ApplianceState.RUNNING)
        if row.appliance_failed != "{}":
            routing.note_failed(tx, row.id, {})
    row = row._replace(standby_seen=told.generation)
    if not told.standby:
        log.warning("the appliance of %s on %s leads from now on", row.id, row.standby_host)
        row = router_pairs.turn(tx, row)
        nudge(tx, "machines")
    return row


def give_up(tx: Tx, row: NetworkRow, told: str) -> None:
    """Its host can't start it: when nothing of it is left there, another one is tried."""
    if row.standby_host is None:
        return
    log.warning("%s could not start the other appliance of %s: %s", row.standby_host, row.id, told)
    routing.note_failed(tx, row.id, {**appliances.failed(row), row.standby_host: told})
    after = standbys.take_down(tx, row, told)
    appliances.tell(tx, [after])


def found(tx: Tx, row: NetworkRow, host: HostId) -> None:
    """After an older copy of the database was restored: it runs there, and the copy knows of one of the two."""
    routing.set_standby(tx, row.id, ApplianceState.RUNNING, host, "")
    router_memory.found(tx, row.id, row.zone, row.runtime, host, standby=True)
    there = routing.numbered(tx, row, standby=True)
    epoch = routing.next_epoch(tx, row.id)
    here = there._replace(
        standby_host=host, standby_state=ApplianceState.RUNNING, appliance_epoch=epoch
    )
    appliances.tell(tx, [here], with_leases=True)


def forsake(tx: Tx, row: NetworkRow, host: HostId) -> None:
    """That host will never come back: what it had of a network is over."""
    if row.standby_host == host:
        appliances.tell(tx, [standbys.lost(tx, row)])
    elif row.standby_state in routing.PRESENT:
        appliances.tell(tx, [standbys.lost(tx, router_pairs.turn(tx, row))])
    else:
        routing.next_epoch(tx, row.id)
        appliances.gone(tx, row)
