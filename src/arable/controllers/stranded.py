"""Routing appliances of hosts that are down: started elsewhere, while the old one may still run.

An appliance has no disk whose host could refuse an old one, and its host can't be asked. So the next one gets a higher
epoch, and wherever both can be heard the old one gives way to it by itself (docs/decisions/0011). Nothing is waited for:
a customer's network answers again as soon as another host has started its router. What was being taken back from a host
that is down is taken for gone as well, so that the next start need not wait for that host; its VLAN stays taken until
the host has said that nothing of it is left (rule 3).

Of a host that is merely silent nothing is moved: its routers run.
"""

import logging
from collections.abc import Collection
from datetime import datetime

from arable.controllers import appliances, standbys
from arable.controllers.appliances import Routers
from arable.domain.event import Event
from arable.domain.host import HostState
from arable.domain.ids import HostId, NetworkId
from arable.domain.network import ApplianceState
from arable.store import (
    events,
    incarnations,
    recoveries,
    reservations,
    router_memory,
    router_pairs,
    routing,
)
from arable.store.database import Tx
from arable.store.recoveries import LostHost
from arable.store.routing import NetworkRow

log = logging.getLogger(__name__)

SECONDS = 2
"""Between rounds; whoever finds a host down nudges (`liveness.TOPIC`)."""
MOST = 200
_LOOKED_AT = 2000  # those for which there is no place must not stand before the others
_NOWHERE = "its host is down, and no other one can run it"


def watch(tx: Tx, at: datetime) -> int:
    """One round; how many routers were given to other hosts, or given up."""
    if incarnations.taking_stock(tx):
        return 0
    down = recoveries.lost_hosts(tx)
    rows = routing.stranded(tx, down, _LOOKED_AT) if down else []
    if not rows:
        return 0
    routers = {zone: Routers.of(tx, zone) for zone in {row.zone for row in rows}}
    able = {host.id for each in routers.values() for host in each.hosts if not host.refuses}
    reservations.hold(tx, able | {host for row in rows for host in _places(row)})
    held = recoveries.hold(tx, {host for row in rows for host in _places(row)})
    moved: list[NetworkRow] = []
    halved: list[NetworkRow] = []
    stay: list[NetworkId] = []
    done = 0
    for row in rows:
        if done + len(moved) + len(halved) == MOST:
            break
        away = {host for host in _places(row) if _is_down(held.get(host))}
        if not away:  # they were heard meanwhile
            continue
        left = _without(tx, row, away)
        if left.appliance_host not in away:
            halved.append(left)
        elif left.appliance_state == ApplianceState.LEAVING:
            routing.next_epoch(tx, left.id)
            appliances.gone(tx, left)
            done += 1
        elif after := _moved(tx, left, routers[row.zone]):
            moved.append(after)
        else:
            stay.append(row.id)
    routing.note_told(tx, stay, _NOWHERE)
    appliances.tell(tx, [*moved, *halved], with_leases=True)
    events.add_many(tx, [_event(row, at, _MOVED) for row in moved])
    events.add_many(tx, [_event(row, at, _HALVED) for row in halved])
    return done + len(moved) + len(halved)


def _places(row: NetworkRow) -> list[HostId]:
    return [host for host in (row.appliance_host, row.standby_host) if host]


def _is_down(host: LostHost | None) -> bool:
    return host is not None and host.state == HostState.DOWN


def _without(tx: Tx, row: NetworkRow, down: Collection[HostId]) -> NetworkRow:
    """Of a pair the one that was on a host that is down is over, and the other one is the network's."""
    if row.standby_host in down:
        return standbys.lost(tx, row)
    if row.standby_state in routing.PRESENT and row.appliance_state in routing.PRESENT:
        log.warning("the appliance of %s on %s is left alone", row.id, row.standby_host)
        return standbys.lost(tx, router_pairs.turn(tx, row))
    return row


def _moved(tx: Tx, row: NetworkRow, routers: Routers) -> NetworkRow | None:
    """The network with its next host; None when there is none now."""
    old = row.appliance_host
    taken = {row.standby_host} if row.standby_host else set()
    new = routers.take(tx, {*appliances.failed(row), *taken}, row.runtime) if old else None
    if new is None or old is None:
        return None
    standbys.take_back(tx, row.id, old)
    routing.set_appliance(tx, row.id, ApplianceState.STARTING, new, "")
    router_memory.note(tx, row.id, routers.mib(new, row.runtime))
    if row.redundant:
        row = routing.numbered(tx, row)
    log.warning("the appliance of %s is given to %s: %s is down", row.id, new, old)
    return row._replace(
        appliance_host=new,
        appliance_state=ApplianceState.STARTING,
        appliance_epoch=routing.next_epoch(tx, row.id),
    )


_MOVED = "its routing appliance was lost with its host, another one starts it"
_HALVED = "one of its two routing appliances was lost with its host, the other one leads"


def _event(row: NetworkRow, at: datetime, what: str) -> Event:
    """For its customer; where it was is the operator's business."""
    text = f"{row.name}: {what}"
    return Event(at=at, account=row.account, kind="network.recovering", subject=row.id, text=text)
