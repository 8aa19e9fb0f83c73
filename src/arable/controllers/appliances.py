"""Every network's routing appliance: up before the first machine, told of every change, gone some time after the last."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Self, TypeVar

import msgspec

from arable.controllers import balancers, endings, standbys, vpns, wishes
from arable.domain.balancer import BalancerWish, NameWish
from arable.domain.errors import NoRoom, Unavailable
from arable.domain.event import Event
from arable.domain.guest_cidr import link_address
from arable.domain.guest_ipv6 import gateway_of
from arable.domain.ids import FarmId, HostId, NetworkId, SegmentId, ZoneId
from arable.domain.manifest import (
    ApplianceWish,
    Direction,
    FirewallRule,
    Ipv6Net,
    ItemKind,
    LinkPort,
    Neighbour,
    Passage,
    PortForward,
    Protocol,
    PublicPort,
    StaticNat,
)
from arable.domain.network import ApplianceState, NetworkState
from arable.domain.pair import Pair
from arable.domain.router_runtime import RouterRuntime
from arable.domain.settings import APPLIANCE_IDLE_SECONDS
from arable.domain.vpn import VpnWish
from arable.domain.zone import guest_mtu
from arable.store import (
    addresses,
    attention,
    events,
    holdings,
    idle_routers,
    incarnations,
    placing,
    reservations,
    router_memory,
    routing,
    settings,
)
from arable.store import wishes as manifests
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.placing import HostSeen
from arable.store.routing import AddressRow, LinkedRow, NetworkRow, RuleRow

log = logging.getLogger(__name__)

MOST = 500
_A_MACHINE = "a router that is a virtual machine"
NO_MEMORY = f"has no memory left for {_A_MACHINE}"

R = TypeVar("R", AddressRow, RuleRow, LinkedRow)

_encode = msgspec.json.Encoder().encode


def want(tx: Tx, networks: Iterable[NetworkId]) -> dict[NetworkId, NoRoom]:
    """Start the appliances of these networks that have none; for those that can't be started, why not.

    A host that could not start it is not tried again until all that may have been, and who waits was told.

    One that is leaving is left to leave; when its host says that it is gone, whoever waits for it is woken.
    """
    refused: dict[NetworkId, NoRoom] = {}
    starting: list[NetworkRow] = []
    by_zone: dict[ZoneId, Routers] = {}
    for row in routing.networks_by_id(tx, networks):
        if row.appliance_state != ApplianceState.ABSENT:
            continue
        tried = failed(row)
        # What is left of the other one of a pair may still be on its way out.
        elsewhere = {row.standby_host} if row.standby_host else set()
        routers = by_zone.get(row.zone)
        if routers is None:
            routers = by_zone[row.zone] = Routers.of(tx, row.zone)
        runtime = RouterRuntime(row.zone_runtime)
        host = routers.take(tx, {*tried, *elsewhere}, runtime)
        if host is None:
            refused[row.id] = _refusal(row, routers, tried, runtime)
            if tried:  # whoever asks next has all of them tried
                routing.note_failed(tx, row.id, {})
            continue
        if row.redundant:
            row = routing.numbered(tx, row)  # noqa: PLW2901 - the row as it is from now on
        if runtime != row.appliance_runtime:
            routing.run_as(tx, row.id, runtime)
        starting.append(
            row._replace(
                appliance_host=host,
                appliance_state=ApplianceState.STARTING,
                appliance_runtime=runtime,
            )
        )
        routing.set_appliance(tx, row.id, ApplianceState.STARTING, host, "")
        router_memory.note(tx, row.id, routers.mib(host, runtime))
    tell(tx, starting, with_leases=True)
    idle_routers.note_busy(tx, [row.id for row in starting])
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
    tell(tx, [standbys.as_wished(tx, row) for row in kept])
    for row in rows:
        if row.state != "ready" and row.appliance_state in _PRESENT:
            _take_down(tx, row, at)
    absent = [r.id for r in rows if r.state == "ready" and r.appliance_state not in _PRESENT]
    _in_effect(tx, absent, at)
    addresses.let_go(tx, [r.id for r in rows if r.appliance_state == ApplianceState.ABSENT])
    routing.clear_attention(tx, [row.id for row in rows])
    return len(rows)


def collect(tx: Tx, at: datetime) -> int:
    """Take down appliances whose networks have had no machine that runs or wants to for long enough.

    And start those that are missed: where machines run, nobody waits who would ask for it.
    """
    limit = at - timedelta(seconds=settings.get(tx, APPLIANCE_IDLE_SECONDS))
    if incarnations.taking_stock(tx):
        return 0
    idle_routers.mark_idle(tx, at)
    idle_routers.forgive(tx)
    idle = idle_routers.idle_since_before(tx, limit, MOST)
    for row in idle:
        _take_down(tx, row, at)
    for network, error in want(tx, idle_routers.missed(tx, MOST)).items():
        routing.note_told(tx, [network], error.public)
    return len(idle)


_PRESENT = routing.PRESENT


def give_up(tx: Tx, row: NetworkRow, told: str, at: datetime) -> None:
    """Its host can't start it: it is taken down there, and when nothing of it is left, another host is tried."""
    if row.appliance_host is None:
        return
    log.warning("%s could not start the appliance of %s: %s", row.appliance_host, row.id, told)
    text = f"{row.name}: its routing appliance could not be started: {told}"
    kind = "network.appliance-failed"
    events.add_many(tx, [Event(at=at, account=row.account, kind=kind, subject=row.id, text=text)])
    _take_down(tx, row, at, told)
    routing.note_failed(tx, row.id, {**failed(row), row.appliance_host: told})


def found(tx: Tx, row: NetworkRow, host: HostId) -> None:
    """It runs there, and not where it was thought to be."""
    if row.appliance_host is not None:
        standbys.take_back(tx, row.id, row.appliance_host)
    routing.set_appliance(tx, row.id, ApplianceState.RUNNING, host, "")
    if row.redundant:
        row = routing.numbered(tx, row)
    router_memory.found(tx, row.id, row.zone, row.runtime, host)
    here = row._replace(
        appliance_host=host,
        appliance_state=ApplianceState.RUNNING,
        appliance_epoch=routing.next_epoch(tx, row.id),  # the copy may be behind what it has
    )
    tell(tx, [here], with_leases=True)
    attention.wake_machines(tx, [row.id])  # the copy may know of some that wait for it to start
    nudge(tx, "machines")


def gone(tx: Tx, row: NetworkRow) -> None:
    """Nothing of it is left on its host: it may start on any, and who waits for it is woken."""
    routing.set_appliance(tx, row.id, ApplianceState.ABSENT, None, "")
    addresses.let_go(tx, [row.id])
    attention.wake_machines(tx, [row.id])
    nudge(tx, "machines")


@dataclass(slots=True)
class Routers:
    """A zone's routing hosts, read once for all networks of a round, with how many appliances each has by now."""

    hosts: list[HostSeen]
    load: dict[HostId, int]
    with_vms: Mapping[HostId, int] = field(default_factory=dict)
    """Those where appliances may be virtual machines, and the MiB that one takes there."""
    full: set[HostId] = field(default_factory=set)  # which had no memory for one

    @classmethod
    def of(cls, tx: Tx, zone: ZoneId) -> Self:
        hosts = placing.routers(tx, zone)
        load = routing.appliances_by_host(tx, [host.id for host in hosts])
        return cls(hosts, load, router_memory.of_hosts(tx, zone))

    def runs(self, host: HostId, runtime: RouterRuntime) -> bool:
        """Whether appliances of that kind can be there."""
        return runtime is RouterRuntime.NAMESPACE or host in self.with_vms

    def mib(self, host: HostId, runtime: RouterRuntime) -> int:
        """What of a host's memory one is reckoned to take."""
        return self.with_vms.get(host, 0) if runtime is RouterRuntime.VM else 0

    def take(self, tx: Tx, tried: Collection[HostId], runtime: RouterRuntime) -> HostId | None:
        """The one with the fewest appliances that has room, ties by id; it has one more from now on, and what that takes
        of its memory is reserved.
        """
        able = [
            host.id
            for host in self.hosts
            if not host.refuses and host.id not in tried and self.runs(host.id, runtime)
        ]
        if runtime is RouterRuntime.VM:
            reservations.hold(tx, able)  # all in one order, as several are tried
        for chosen in sorted(able, key=lambda host: (self.load.get(host, 0), host)):
            mib = self.mib(chosen, runtime)
            if mib and router_memory.take(tx, {chosen: mib}):
                self.full.add(chosen)
                continue
            self.full.discard(chosen)
            self.load[chosen] = self.load.get(chosen, 0) + 1
            return chosen
        return None


def failed(row: NetworkRow) -> dict[HostId, str]:
    """Hosts that could not start it since it ran last, and why."""
    return msgspec.json.decode(row.appliance_failed, type=dict[HostId, str])


def _refusal(
    row: NetworkRow, routers: Routers, failed: Mapping[HostId, str], runtime: RouterRuntime
) -> NoRoom:
    """Why none of the zone's routing hosts will do; those that tried are its causes, one of the other."""
    tried = [host for host in routers.hosts if host.id in failed]
    unable = [host for host in routers.hosts if not routers.runs(host.id, runtime)]
    by_host = {host.name: "runs no routers as virtual machines" for host in unable}
    by_host |= {h.name: NO_MEMORY for h in routers.hosts if h.id in routers.full}
    by_host |= {host.name: host.refuses for host in routers.hosts if host.refuses}
    by_host |= {host.name: f"could not start it: {failed[host.id]}" for host in tried}
    why = {"reasons": dict(Counter(by_host.values())), "hosts": by_host}
    if not tried:
        as_vms = " as virtual machines" if runtime is RouterRuntime.VM else ""
        if routers.full:
            return NoRoom(f"no host of the zone has memory for {_A_MACHINE}", why=why)
        return NoRoom(f"no host of the zone that can run routing appliances{as_vms} is up", why=why)
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
    standbys.take_back(tx, row.id, row.appliance_host)
    routing.set_appliance(tx, row.id, ApplianceState.LEAVING, row.appliance_host, told)
    standbys.take_down(tx, row)
    if row.state == NetworkState.READY:
        _in_effect(tx, [row.id], at)


def _in_effect(tx: Tx, networks: Sequence[NetworkId], at: datetime) -> None:
    """A change to an appliance that does not run is in effect as soon as it is kept: it will start with it."""
    endings.settle(tx, [(op, None) for op in routing.operations_on(tx, networks)], at)


def tell(tx: Tx, rows: Sequence[NetworkRow], *, with_leases: bool = False) -> None:
    """Write the appliances of these networks anew for their hosts."""
    if not rows:
        return
    ids = [row.id for row in rows]
    public = _by_network(routing.addresses(tx, ids))
    rules = _by_network(routing.rules(tx, ids))
    linked = _by_network(routing.linked(tx, ids))
    balanced = balancers.wished(tx, ids)
    tunnelled = vpns.wished(tx, ids)
    named = balancers.names(tx, ids)
    items = [
        item(
            row,
            host,
            public.get(row.id, []),
            rules.get(row.id, []),
            balanced.get(row.id, ()),
            linked.get(row.id, ()),
            tunnelled.get(row.id, ()),
            named.get(row.id, ()),
            pair,
        )
        for row in rows
        for host, pair in row.routers
    ]
    if with_leases:
        hosts = {row.id: row.routers for row in rows}
        items += [
            wishes.lease(nic.name, nic, host, nic.seed)
            for nic in routing.nics(tx, ids)
            for host, _ in hosts[nic.network]
            if not nic.leaving
        ]
    there = [(row.id, host) for row in rows for host, _ in row.routers]
    links = [(row.farm, host) for row in rows if row.id in linked for host, _ in row.routers]
    manifests.note_presence(tx, [*there, *links])
    manifests.put(tx, items)


def item(
    row: NetworkRow,
    host: HostId,
    addresses: Sequence[AddressRow],
    rules: Sequence[RuleRow],
    balanced: tuple[BalancerWish, ...] = (),
    linked: Sequence[LinkedRow] = (),
    tunnelled: tuple[VpnWish, ...] = (),
    named: tuple[NameWish, ...] = (),
    pair: Pair | None = None,
) -> manifests.Item:
    """The appliance of a network as its host is told; a pure function of rows."""
    wish = ApplianceWish(
        network=row.id,
        generation=row.generation,
        vlan=row.vlan,
        cidr=row.cidr,
        gateway=row.gateway,
        domain=row.dns_domain,
        mtu=guest_mtu(row.underlay_mtu, row.vlan),
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
        statics=tuple(
            StaticNat(public=rule.public, to=rule.to)
            for rule in rules
            if rule.kind == "static-nat" and rule.public and rule.to
        ),
        balancers=tuple(each for each in balanced if each.public),
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
        resolvers=_resolvers(row),
        epoch=row.appliance_epoch,
        isolated=row.isolated,
        restarts=row.restarts,
        link=_link(row, linked),
        passages=tuple(
            _passage(each, each.source, each.target) for each in linked if ":" not in each.source
        ),
        vpns=tunnelled,
        inners=tuple(each for each in balanced if not each.public),
        names=named,
        pair=pair,
        ipv6=_ipv6(row, linked),
        runtime=row.runtime,
    )
    text = _encode(wish).decode()
    if wish.runtime is RouterRuntime.NAMESPACE:  # what is as ever is told nothing of it
        text = text.removesuffix(_USUAL_RUNTIME) + "}"
        if wish.ipv6 is None:
            text = text.removesuffix(_NO_IPV6) + "}"
    return manifests.Item(host, ItemKind.APPLIANCE, row.id, text)


_USUAL_RUNTIME = ',"runtime":"namespace"}'
_NO_IPV6 = ',"ipv6":null}'


def _passage(each: LinkedRow, source: str, target: str) -> Passage:
    return Passage(
        source=source,
        target=target,
        protocol=Protocol(each.protocol),
        first_port=each.first_port,
        last_port=each.last_port,
    )


def _ipv6(row: NetworkRow, linked: Sequence[LinkedRow]) -> Ipv6Net | None:
    """Its /64, the way out, unless it has none, and what leads to neighbours that have IPv6, too.

    A rule about all of a network is about its machines, by whichever family they call.
    """
    if row.ipv6_cidr is None:
        return None
    upstream = "" if row.isolated else row.ipv6_gateway or ""
    both = [each for each in linked if each.near6]
    near = dict.fromkeys((each.near6, each.near_number) for each in both)
    return Ipv6Net(
        cidr=row.ipv6_cidr,
        gateway=gateway_of(row.ipv6_cidr),
        upstream=upstream,
        near=tuple(Neighbour(cidr=cidr or "", via=link_address(number)) for cidr, number in near),
        passages=tuple(
            _passage(each, source or "", each.called6 or "")
            for each in both
            for source in ((each.source if ":" in each.source else each.calls6),)
            if each.source == each.calls or ":" in each.source
        ),
    )


def _resolvers(row: NetworkRow) -> tuple[str, ...]:
    """Its own, or else its zone's. Where there is no way out, nobody outside is asked for a name either."""
    if row.isolated:
        return ()
    own = msgspec.json.decode(row.own_resolvers, type=list[str] | None)
    return tuple(msgspec.json.decode(row.resolvers, type=list[str]) if own is None else own)


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


def _link(row: NetworkRow, linked: Sequence[LinkedRow]) -> LinkPort | None:
    """Its port to the networks that there are rules with, once each."""
    if not linked:
        return None
    near = dict.fromkeys((each.near_cidr, each.near_number) for each in linked)
    return LinkPort(
        vlan=linked[0].link_vlan,
        address=link_address(row.number),
        neighbours=tuple(Neighbour(cidr=cidr, via=link_address(number)) for cidr, number in near),
    )


def _by_network(rows: Iterable[R]) -> dict[NetworkId, list[R]]:
    found: dict[NetworkId, list[R]] = {}
    for row in rows:
        found.setdefault(row.network, []).append(row)
    return found
