"""Zones: what an operator may ask of them, and what everybody may know."""

import msgspec

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import ZoneId, kind_of
from arable.domain.router_runtime import RouterRuntime
from arable.domain.subnet import network, resolvers
from arable.domain.zone import Isolation, Tags, Zone, check_tags
from arable.services.asks import NETWORKS, check_expected
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import capacity, public_ranges, router_memory, routing, tunnels, zones
from arable.store.capacity import Amount
from arable.store.nudges import nudge
from arable.store.zones import Use, ZoneFilter
from arable.wire.common import Page
from arable.wire.zones import (
    AmountOut,
    CapacityOut,
    HostCountOut,
    UseOut,
    VlanRange,
    VniRange,
    ZoneChange,
    ZoneIn,
    ZoneOut,
    ZoneQuery,
)


def create(call: Call, ask: ZoneIn) -> ZoneOut:
    """A new zone with its guest VLANs, or VNIs."""
    call.caller.needs(Permission.INFRA_WRITE)
    run = ask.vlans or ask.vnis
    if run is None or (ask.vlans and ask.vnis):
        raise BadInput("a zone has VLANs or VNIs for its guest networks: name one of them", field="vlans")  # fmt: skip
    isolation = Isolation.VLAN if ask.vlans else Isolation.VXLAN
    tags = Tags(run.first, run.last)
    check_tags(tags, (), "vlans" if ask.vlans else "vnis", isolation)
    zone = Zone(
        id=ZoneId(call.around.ids.new("zone")),
        name=ask.name,
        region=ask.region,
        dns_domain=ask.dns_domain,
        resolvers=resolvers(ask.resolvers),
        guest_cidr=_guest_cidr(ask.guest_cidr),
        isolation=isolation,
        underlay_mtu=ask.underlay_mtu,
        router_runtime=RouterRuntime(ask.router_runtime),
        created_at=call.around.clock.now(),
    )
    zones.add(call.tx, zone)
    zones.add_tags(call.tx, zone.id, tags)
    return _out(call, zone)


def page(call: Call, query: ZoneQuery) -> Page[ZoneOut]:
    """Zones; whoever may use the catalogue has to know where."""
    call.caller.needs(Permission.CATALOGUE_READ)
    found = zones.page(
        call.tx, ZoneFilter(name=query.name), after=query.after, limit=query.limit + 1
    )
    return paged(found, query, lambda zone: _out(call, zone))


def get(call: Call, zone: ZoneId) -> ZoneOut:
    """One zone."""
    call.caller.needs(Permission.CATALOGUE_READ)
    return _out(call, zones.get(call.tx, zone))


def update(call: Call, zone: ZoneId, ask: ZoneChange) -> ZoneOut:
    """What is said is changed. Networks that are there keep what they have."""
    call.caller.needs(Permission.INFRA_WRITE)
    before = zones.get(call.tx, zone, lock=True)
    check_expected(call, before.generation, "zone")
    said = msgspec.to_builtins(ask)
    if "name" in said and said["name"] != before.name:
        zones.check_name(call.tx, said["name"])
    if "resolvers" in said:
        said["resolvers"] = resolvers(said["resolvers"])
    if "guest_cidr" in said:
        _guest_cidr(said["guest_cidr"])
    if "router_runtime" in said:
        said["router_runtime"] = RouterRuntime(said["router_runtime"])
    after = before.changed(**said)
    zones.save(call.tx, after)
    if after.underlay_mtu != before.underlay_mtu:
        tunnels.note_zone(call.tx, zone)
        routing.note_zone(call.tx, zone)
        nudge(call.tx, NETWORKS)
    return _out(call, after)


def delete(call: Call, zone: ZoneId) -> None:
    """Only when nothing is in it."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = zones.get(call.tx, zone, lock=True)
    check_expected(call, found.generation, "zone")
    zones.remove(call.tx, found)


def add_vlans(call: Call, zone: ZoneId, ask: VlanRange) -> ZoneOut:
    """More VLANs for guest networks."""
    return _add(call, zone, Tags(ask.first, ask.last), Isolation.VLAN)


def add_vnis(call: Call, zone: ZoneId, ask: VniRange) -> ZoneOut:
    """More VNIs for guest networks."""
    return _add(call, zone, Tags(ask.first, ask.last), Isolation.VXLAN)


def _add(call: Call, zone: ZoneId, tags: Tags, isolation: Isolation) -> ZoneOut:
    call.caller.needs(Permission.INFRA_WRITE)
    before = zones.get(call.tx, zone, lock=True)
    check_expected(call, before.generation, "zone")
    if before.isolation is not isolation:
        has = "VNIs" if before.isolation is Isolation.VXLAN else "VLANs"
        raise Conflict(f"{before.name} keeps its guest networks apart by {has}", field="first")
    check_tags(tags, zones.tags(call.tx, zone), "first", isolation)
    for other in public_ranges.of_zone(call.tx, zone):
        if other.vlan in tags:
            raise Conflict(
                f"VLAN {other.vlan} is that of the public range {other.cidr}", field="first"
            )
    zones.add_tags(call.tx, zone, tags)
    after = before.changed()
    zones.save(call.tx, after)
    return _out(call, after)


def capacity_of(call: Call, zone: ZoneId) -> CapacityOut:
    """Total, reserved and free of everything; `idle` is what belongs to no farm."""
    call.caller.needs(Permission.INFRA_READ)
    zones.get(call.tx, zone)
    hosts, amounts = capacity.of_zone(call.tx, zone)
    return CapacityOut(
        zone=zone,
        hosts=HostCountOut(
            total=hosts.total,
            up=hosts.up,
            silent=hosts.silent,
            joined=hosts.joined,
            maintenance=hosts.maintenance,
        ),
        machines=hosts.machines,
        cpu_mhz=_amount(amounts["cpu_mhz"]),
        memory_mib=_amount(amounts["memory_mib"]),
        routers_memory_mib=router_memory.of_zone(call.tx, zone),
        disk_mib=_amount(amounts["disk_mib"]),
        vlans=use_out(zones.vlan_use(call.tx, zone)),
        addresses=use_out(public_ranges.use_in(call.tx, zone)),
    )


def named(call: Call, name: str) -> Zone:
    """The zone that a body names, by name or id; locked, because something is about to be added to it."""
    if kind_of(name) == "zone":
        return zones.get(call.tx, ZoneId(name), lock=True)
    found = zones.page(call.tx, ZoneFilter(name=name), limit=1)
    if not found:
        raise BadInput(f"there is no zone {name}", field="zone")
    return zones.get(call.tx, found[0].id, lock=True)


def use_out(use: Use) -> UseOut:
    """How it looks outside."""
    return UseOut(total=use.total, free=use.free)


def _out(call: Call, zone: Zone) -> ZoneOut:
    vlans, vnis = None, None
    if Permission.INFRA_READ in call.caller.permissions:
        found = zones.tags(call.tx, zone.id)
        if zone.isolation is Isolation.VLAN:
            vlans = tuple(VlanRange(first=run.first, last=run.last) for run in found)
        else:
            vnis = tuple(VniRange(first=run.first, last=run.last) for run in found)
    return ZoneOut(
        id=zone.id,
        name=zone.name,
        region=zone.region,
        enabled=zone.enabled,
        dns_domain=zone.dns_domain,
        resolvers=zone.resolvers,
        guest_cidr=zone.guest_cidr,
        isolation=zone.isolation.value,
        underlay_mtu=zone.underlay_mtu,
        router_runtime=zone.router_runtime.value,
        vlans=vlans,
        vnis=vnis,
        generation=zone.generation,
        created_at=zone.created_at,
    )


def _amount(amount: Amount) -> AmountOut:
    return AmountOut(
        installed=amount.installed,
        total=amount.total,
        reserved=amount.reserved,
        free=amount.total - amount.reserved,
        idle=amount.idle,
    )


def _guest_cidr(text: str) -> str:
    subnet = network(text, "guest_cidr")
    if not 8 <= subnet.prefixlen <= 29:
        raise BadInput("a guest network is from /8 to /29", field="guest_cidr")
    return text
