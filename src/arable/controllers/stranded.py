"""Routing appliances of hosts that are down: started elsewhere, while the old one may still run.

An appliance has no disk whose host could refuse an old one, and its host can't be asked. So the next one gets a higher
epoch, and wherever both can be heard the old one gives way to it by itself (docs/decisions/0011). Nothing is waited for:
a customer's network answers again as soon as another host has started its router. What was being taken back from a host
that is down is taken for gone as well, so that the next start need not wait for that host; its VLAN stays taken until
the host has said that nothing of it is left (rule 3).

Of a host that is merely silent nothing is moved: its routers run.
"""

import logging
from datetime import datetime

from arable.controllers import appliances
from arable.controllers.appliances import Routers
from arable.domain.event import Event
from arable.domain.host import HostState
from arable.domain.ids import NetworkId
from arable.domain.manifest import ItemKind
from arable.domain.network import ApplianceState
from arable.store import events, incarnations, recoveries, reservations, routing
from arable.store import wishes as manifests
from arable.store.database import Tx
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
    reservations.hold(tx, able | {row.appliance_host for row in rows if row.appliance_host})
    held = recoveries.hold(tx, {row.appliance_host for row in rows if row.appliance_host})
    moved: list[NetworkRow] = []
    stay: list[NetworkId] = []
    done = 0
    for row in rows:
        if done + len(moved) == MOST:
            break
        host = held.get(row.appliance_host) if row.appliance_host else None
        if host is None or host.state != HostState.DOWN:  # it was heard meanwhile
            continue
        if row.appliance_state == ApplianceState.LEAVING:
            routing.next_epoch(tx, row.id)
            appliances.gone(tx, row)
            done += 1
        elif after := _moved(tx, row, routers[row.zone]):
            moved.append(after)
        else:
            stay.append(row.id)
    routing.note_told(tx, stay, _NOWHERE)
    appliances.tell(tx, moved, with_leases=True)
    events.add_many(tx, [_event(row, at) for row in moved])
    return done + len(moved)


def _moved(tx: Tx, row: NetworkRow, routers: Routers) -> NetworkRow | None:
    """The network with its next host; None when there is none now."""
    old = row.appliance_host
    new = routers.take(appliances.failed(row)) if old else None
    if new is None or old is None:
        return None
    leases = [(old, nic.id) for nic in routing.nics(tx, [row.id])]
    manifests.take_back(tx, ItemKind.APPLIANCE, [(old, row.id)])
    manifests.take_back(tx, ItemKind.LEASE, leases)
    routing.set_appliance(tx, row.id, ApplianceState.STARTING, new, "")
    log.warning("the appliance of %s is given to %s: %s is down", row.id, new, old)
    return row._replace(
        appliance_host=new,
        appliance_state=ApplianceState.STARTING,
        appliance_epoch=routing.next_epoch(tx, row.id),
    )


def _event(row: NetworkRow, at: datetime) -> Event:
    """For its customer; where it was is the operator's business."""
    text = f"{row.name}: its routing appliance was lost with its host, another one starts it"
    return Event(at=at, account=row.account, kind="network.recovering", subject=row.id, text=text)
