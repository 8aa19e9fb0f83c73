"""Every network's routing appliance: up before the first machine, told of every change, gone some time after the last."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import TypeVar

import msgspec

from arable.controllers import endings, wishes
from arable.domain.errors import NoRoom, Unavailable
from arable.domain.event import Event
from arable.domain.ids import FarmId, HostId, NetworkId, SegmentId
from arable.domain.manifest import (
    ApplianceWish,
    Direction,
    FirewallRule,
    ItemKind,
    PortForward,
    Protocol,
    PublicPort,
)
from arable.domain.network import ApplianceState, NetworkState
from arable.domain.settings import APPLIANCE_IDLE_SECONDS
from arable.store import (
    addresses,
    attention,
    events,
    holdings,
    incarnations,
    placing,
    routing,
    settings,
)
from arable.store import wishes as manifests
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.placing import HostSeen
from arable.store.routing import AddressRow, NetworkRow, RuleRow

log = logging.getLogger(__name__)

MOST = 500

R = TypeVar("R", AddressRow, RuleRow)

_encode = msgspec.json.Encoder().encode


def want(tx: Tx, networks: Iterable[NetworkId]) -> dict[NetworkId, NoRoom]:
    """Start the appliances of these networks that have none; for those that can't be started, why not.

    A host that could not start it is not tried again until all that may have been, and who waits was told.

    One that is leaving is left to leave; when its host says that it is gone, whoever waits for it is woken.
    """
    refused: dict[NetworkId, NoRoom] = {}
    starting: list[NetworkRow] = []
    for row in routing.networks_by_id(tx, networks):
        if row.appliance_state != ApplianceState.ABSENT:
            continue
        failed = _failed(row)
        routers = [h for h in placing.hosts(tx, row.zone) if "routing" in h.roles]
        host = _choose(tx, [h.id for h in routers if not h.refuses and h.id not in failed])
        if host is None:
            refused[row.id] = _refusal(row, routers, failed)
            if failed:  # whoever asks next has all of them tried
                routing.note_failed(tx, row.id, {})
            continue
        starting.append(row._replace(appliance_host=host, appliance_state=ApplianceState.STARTING))
        routing.set_appliance(tx, row.id, ApplianceState.STARTING, host, "")
    _tell(tx, starting, with_leases=True)
    routing.note_busy(tx, [row.id for row in starting])
    return refused


def wanting(tx: Tx, holder: SegmentId, at: datetime) -> Sequence[FarmId]:  # noqa: ARG001
    """Its farms with networks that changed."""
    return holdings.wanting_networks(tx, holder, MOST)


def attend(tx: Tx, at: datetime, farms: Iterable[FarmId] | None = None) -> int:
    """Networks, of these farms or of all, that changed: write their appliances anew, or take leaving ones down.

    How many were looked at.
    """
    rows = routing.networks_with_attention(tx, MOST, farms)
    if not rows:
        return 0
    kept = [r for r in rows if r.state == "ready" and r.appliance_state in _PRESENT]
    _tell(tx, kept)
    for row in rows:
        if row.state != "ready" and row.appliance_state in _PRESENT:
            _take_down(tx, row, at)
    absent = [r.id for r in rows if r.state == "ready" and r.appliance_state not in _PRESENT]
    _in_effect(tx, absent, at)
    addresses.let_go(tx, [r.id for r in rows if r.appliance_state == ApplianceState.ABSENT])
    routing.clear_attention(tx, [row.id for row in rows])
    return len(rows)


def collect(tx: Tx, at: datetime) -> int:
    """Take down appliances whose networks have had no machine that runs or wants to for long enough."""
    limit = at - timedelta(seconds=settings.get(tx, APPLIANCE_IDLE_SECONDS))
    if incarnations.taking_stock(tx):
        return 0
    routing.mark_idle(tx, at)
    routing.forgive(tx)
    idle = routing.idle_since_before(tx, limit, MOST)
    for row in idle:
        _take_down(tx, row, at)
    return len(idle)


_PRESENT = (ApplianceState.STARTING, ApplianceState.RUNNING)


def give_up(tx: Tx, row: NetworkRow, told: str, at: datetime) -> None:
    """Its host can't start it: it is taken down there, and when nothing of it is left, another host is tried."""
    if row.appliance_host is None:
        return
    log.warning("%s could not start the appliance of %s: %s", row.appliance_host, row.id, told)
    text = f"{row.name}: its routing appliance could not be started: {told}"
    kind = "network.appliance-failed"
    events.add_many(tx, [Event(at=at, account=row.account, kind=kind, subject=row.id, text=text)])
    _take_down(tx, row, at, told)
    routing.note_failed(tx, row.id, {**_failed(row), row.appliance_host: told})


def found(tx: Tx, row: NetworkRow, host: HostId) -> None:
    """It runs there, and not where it was thought to be."""
    if row.appliance_host is not None:
        leases = [(row.appliance_host, nic.id) for nic in routing.nics(tx, [row.id])]
        manifests.take_back(tx, ItemKind.APPLIANCE, [(row.appliance_host, row.id)])
        manifests.take_back(tx, ItemKind.LEASE, leases)
    routing.set_appliance(tx, row.id, ApplianceState.RUNNING, host, "")
    here = row._replace(appliance_host=host, appliance_state=ApplianceState.RUNNING)
    _tell(tx, [here], with_leases=True)
    attention.wake_machines(tx, row.id)  # the copy may know of some that wait for it to start
    nudge(tx, "machines")


def gone(tx: Tx, row: NetworkRow) -> None:
    """Nothing of it is left on its host: it may start on any, and who waits for it is woken."""
    routing.set_appliance(tx, row.id, ApplianceState.ABSENT, None, "")
    addresses.let_go(tx, [row.id])
    attention.wake_machines(tx, row.id)
    nudge(tx, "machines")


def _choose(tx: Tx, able: Sequence[HostId]) -> HostId | None:
    """The host with the fewest appliances; ties by id."""
    if not able:
        return None
    load = routing.appliances_by_host(tx, able)
    return min(able, key=lambda host: (load.get(host, 0), host))


def _failed(row: NetworkRow) -> dict[HostId, str]:
    return msgspec.json.decode(row.appliance_failed, type=dict[HostId, str])


def _refusal(row: NetworkRow, routers: Sequence[HostSeen], failed: Mapping[HostId, str]) -> NoRoom:
    """Why none of the zone's routing hosts will do; those that tried are its causes, one of the other."""
    tried = [host for host in routers if host.id in failed]
    by_host = {host.name: host.refuses for host in routers if host.refuses}
    by_host |= {host.name: f"could not start it: {failed[host.id]}" for host in tried}
    why = {"reasons": dict(Counter(by_host.values())), "hosts": by_host}
    if not tried:
        return NoRoom("no host of the zone that can run routing appliances is up", why=why)
    cause: Unavailable | None = None
    for host in tried:
        error = Unavailable(f"a host could not start it: {failed[host.id]}")
        error.__cause__, cause = cause, error
    refusal = NoRoom(f"no host can run the routing appliance of the network {row.name}", why=why)
    refusal.__cause__ = cause
    return refusal


def _take_down(tx: Tx, row: NetworkRow, at: datetime, told: str = "") -> None:
    if row.appliance_host is None:
        return
    leases = [(row.appliance_host, nic.id) for nic in routing.nics(tx, [row.id])]
    manifests.take_back(tx, ItemKind.APPLIANCE, [(row.appliance_host, row.id)])
    manifests.take_back(tx, ItemKind.LEASE, leases)
    routing.set_appliance(tx, row.id, ApplianceState.LEAVING, row.appliance_host, told)
    if row.state == NetworkState.READY:
        _in_effect(tx, [row.id], at)


def _in_effect(tx: Tx, networks: Sequence[NetworkId], at: datetime) -> None:
    """A change to an appliance that does not run is in effect as soon as it is kept: it will start with it."""
    endings.settle(tx, [(op, None) for op in routing.operations_on(tx, networks)], at)


def _tell(tx: Tx, rows: Sequence[NetworkRow], *, with_leases: bool = False) -> None:
    if not rows:
        return
    ids = [row.id for row in rows]
    public = _by_network(routing.addresses(tx, ids))
    rules = _by_network(routing.rules(tx, ids))
    items = [
        item(row, row.appliance_host, public.get(row.id, []), rules.get(row.id, []))
        for row in rows
        if row.appliance_host
    ]
    if with_leases:
        hosts = {row.id: row.appliance_host for row in rows}
        for nic in routing.nics(tx, ids):
            host = hosts[nic.network]
            if host:
                items.append(wishes.lease(nic.name, nic, host))
    manifests.note_presence(tx, [(r.id, r.appliance_host) for r in rows if r.appliance_host])
    manifests.put(tx, items)


def item(
    row: NetworkRow, host: HostId, addresses: Sequence[AddressRow], rules: Sequence[RuleRow]
) -> manifests.Item:
    """The appliance of a network as its host is told; a pure function of rows."""
    wish = ApplianceWish(
        network=row.id,
        generation=row.generation,
        vlan=row.vlan,
        cidr=row.cidr,
        gateway=row.gateway,
        domain=row.dns_domain,
        public=_public(addresses),
        forwards=tuple(
            PortForward(
                protocol=Protocol(rule.protocol),
                public=rule.public,
                first_port=rule.first_port,
                last_port=rule.last_port,
                to=rule.to,
                to_port=rule.to_port,
            )
            for rule in rules
            if rule.kind == "forward" and rule.public and rule.to
        ),
        firewall=tuple(
            FirewallRule(
                direction=Direction(rule.direction),
                protocol=Protocol(rule.protocol),
                cidr=rule.cidr,
                public=rule.public or "",
                first_port=rule.first_port,
                last_port=rule.last_port,
            )
            for rule in rules
            if rule.kind == "firewall" or rule.cidr
        ),
        resolvers=tuple(msgspec.json.decode(row.resolvers, type=list[str])),
    )
    return manifests.Item(host, ItemKind.APPLIANCE, row.id, _encode(wish).decode())


def _public(addresses: Sequence[AddressRow]) -> PublicPort | None:
    """The way out: the source NAT address, or the first one."""
    if not addresses:
        return None
    first = next((a for a in addresses if a.source_nat), addresses[0])
    return PublicPort(
        vlan=first.vlan,
        address=first.address,
        prefix=ip_network(first.cidr).prefixlen,
        gateway=first.gateway,
        further=tuple(a.address for a in addresses if a is not first),
    )


def _by_network(rows: Iterable[R]) -> dict[NetworkId, list[R]]:
    found: dict[NetworkId, list[R]] = {}
    for row in rows:
        found.setdefault(row.network, []).append(row)
    return found
