"""What to build for a topology: devices, wires, switch ports, addresses, routes, the firewall. Pure values.

Each zone gets one device that is both its layer-3 router and, for tagged frames, a switch: guest VLANs of the
zone's range reach all of its pods at layer 2, while the pods' management networks meet only in the router, behind
the firewall. Untagged means management on every uplink; inside the zone device each pod's untagged frames get a
VLAN of their own, taken from the top of the range so that no guest VLAN can be meant. Guests have no interface in
the router at all, and the public VLAN ends in the device `internet`, which knows no way to management.

With a grid there is a WAN besides: a device in which links of limited rate meet, one from each region's servers and one
from the grid manager. It knows servers and nothing else; what comes out of it gets as far as their grid ports.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from arable.lab.topology import (
    GATEWAY_PORT,
    GRID,
    NATIVE_VLAN,
    REGION_PORT,
    WAN,
    Grid,
    Host,
    Pod,
    Region,
    Server,
    Topology,
    Zone,
)

UPLINK = "up0"
MANAGEMENT = "mgmt0"
OUTSIDE = "198.51.100.1"  # a server somewhere on the internet
OUTSIDE_PORT = 80


class Kind(StrEnum):
    """What a device is."""

    HOST = "host"
    POD = "pod switch"
    ZONE = "zone router"
    MANAGEMENT = (
        "management"  # where the management server's socket is, or several servers' cables meet
    )
    SERVER = "management server"  # one of several
    INTERNET = "internet"
    WAN = "WAN"
    GRID = "grid manager"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a wire."""

    device: str
    interface: str


@dataclass(frozen=True, slots=True)
class Wire:
    """A cable. It is cut at `near`, the switch's end, so the far one sees its carrier go, as with a real one.

    `mbit` limits what it carries in each direction; 0: nothing does.
    """

    name: str
    near: End
    far: End
    mbit: int = 0


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a switch: a trunk (`native` untagged, `trunks` tagged), or with no trunks an access port.

    With an address it is internal: a leg of the device itself in that VLAN.
    """

    interface: str
    native: int
    trunks: tuple[int, ...] = ()
    address: str = ""


@dataclass(frozen=True, slots=True)
class Switch:
    """A device's bridge."""

    bridge: str
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A way of a device; `via` empty means that the destination is on the wire itself."""

    destination: str
    interface: str
    via: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Something with a namespace of its own. `addresses` are (interface, address/prefix) of its plain interfaces."""

    name: str
    kind: Kind
    switch: Switch | None = None
    addresses: tuple[tuple[str, str], ...] = ()
    routes: tuple[Route, ...] = ()
    forwards: bool = False
    firewall: str = ""
    host: Host | None = None
    pod: str = ""
    zone: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a lab, by name."""

    devices: dict[str, Device]
    wires: dict[str, Wire]

    def of(self, kind: Kind) -> Iterator[Device]:
        """The devices of a kind."""
        return (device for device in self.devices.values() if device.kind is kind)

    def wires_of(self, device: str) -> Iterator[Wire]:
        """The wires that end in a device."""
        return (w for w in self.wires.values() if device in (w.near.device, w.far.device))


def plan(topology: Topology) -> Plan:
    """What to build."""
    grid = topology.grid
    devices = [device for region in topology.regions for device in _region(region, grid)]
    zones = [zone for _, zone in topology.zones()]
    wires = [wire for region in topology.regions for wire in _wires(region)]
    if grid:
        devices += [_wan(grid, topology.regions), _grid(grid)]
        wires += _wan_links(topology.regions)
    return Plan(
        {device.name: device for device in (_internet(zones), *devices)},
        {wire.name: wire for wire in wires},
    )


def _internet(zones: list[Zone]) -> Device:
    legs = [(z.name, f"{z.public.gateway}/{z.public.network.prefixlen}") for z in zones]
    return Device(
        name="internet",
        kind=Kind.INTERNET,
        addresses=(("lo", f"{OUTSIDE}/32"), *legs),
        forwards=len(zones) > 1,
    )


def _wan(grid: Grid, regions: tuple[Region, ...]) -> Device:
    def ways(region: Region) -> Iterator[Route]:
        if region.servers == 1:
            yield Route(f"{region.server}/32", region.name)
            return
        yield Route(f"{region.hub}/32", region.name)
        for server in region.management:
            yield Route(f"{server.address}/32", region.name, str(region.hub))

    return Device(
        name=WAN,
        kind=Kind.WAN,
        addresses=(("lo", f"{grid.hub}/32"),),
        routes=(
            Route(f"{grid.server}/32", GRID),
            *(way for region in regions for way in ways(region)),
        ),
        forwards=True,
    )


def _grid(grid: Grid) -> Device:
    return Device(
        name=GRID,
        kind=Kind.GRID,
        addresses=(("lo", f"{grid.server}/32"),),
        routes=(Route("0.0.0.0/0", UPLINK, str(grid.hub)),),
    )


def _wan_links(regions: tuple[Region, ...]) -> Iterator[Wire]:
    yield Wire(GRID, End(WAN, GRID), End(GRID, UPLINK))
    for region in regions:
        near, far = End(WAN, region.name), End(region.name, WAN)
        yield Wire(f"{region.name}.{WAN}", near, far, region.wan_mbit or 0)


def _region(region: Region, grid: Grid | None) -> Iterator[Device]:
    # A device answers for all its own addresses on every wire, so a router's first pod's serves as next hop.
    several = region.servers > 1
    yield Device(
        name=region.name,
        kind=Kind.MANAGEMENT,
        addresses=(("lo", f"{region.hub if several else region.server}/32"),),
        routes=(
            *(Route(str(z.supernet), z.name, str(z.pods[0].gateway)) for z in region.zones),
            *(Route(f"{s.address}/32", s.name) for s in region.management if several),
            *((Route("0.0.0.0/0", WAN, str(grid.hub)),) if grid else ()),
        ),
        forwards=several,
        firewall=_WAN_FIREWALL if grid else "",
        region=region.name,
    )
    for server in region.management if several else ():
        yield _server(region, server)
    for zone in region.zones:
        yield _zone(region, zone)
        for pod in zone.pods:
            yield _pod(region, zone, pod)
            for host in pod.hosts:
                yield _host(region, zone, pod, host)


def _server(region: Region, server: Server) -> Device:
    return Device(
        name=server.name,
        kind=Kind.SERVER,
        addresses=(("lo", f"{server.address}/32"),),
        routes=(Route("0.0.0.0/0", UPLINK, str(region.hub)),),
        region=region.name,
    )


def _zone(region: Region, zone: Zone) -> Device:
    inner = _inner_vlans(zone)
    trunks = [Port(pod.name, vlan, zone.tagged) for pod, vlan in zip(zone.pods, inner, strict=True)]
    legs = [
        Port(f"gw-{pod.name}", vlan, address=f"{pod.gateway}/{pod.subnet.prefixlen}")
        for pod, vlan in zip(zone.pods, inner, strict=True)
    ]
    return Device(
        name=zone.name,
        kind=Kind.ZONE,
        switch=Switch("br-zone", (*trunks, *legs, Port("public", zone.public.vlan))),
        routes=_to_servers(region),
        forwards=True,
        firewall=firewall(region, zone),
        zone=zone.name,
        region=region.name,
    )


def _to_servers(region: Region) -> tuple[Route, ...]:
    """A zone's ways. It has one to the hub itself, too: it answers no question (ARP) from where it has no way to."""
    if region.servers == 1:
        return (Route(f"{region.server}/32", "server"),)
    ways = (Route(f"{s.address}/32", "server", str(region.hub)) for s in region.management)
    return (Route(f"{region.hub}/32", "server"), *ways)


def _inner_vlans(zone: Zone) -> list[int]:
    free = (vlan for vlan in range(4094, 1, -1) if vlan not in zone.tagged)
    return [vlan for vlan, _ in zip(free, zone.pods, strict=False)]


def _pod(region: Region, zone: Zone, pod: Pod) -> Device:
    ports = [
        Port(name, NATIVE_VLAN, zone.tagged) for name in (UPLINK, *(h.name for h in pod.hosts))
    ]
    return Device(
        name=pod.name,
        kind=Kind.POD,
        switch=Switch("br-pod", tuple(ports)),
        pod=pod.name,
        zone=zone.name,
        region=region.name,
    )


def _host(region: Region, zone: Zone, pod: Pod, host: Host) -> Device:
    address = f"{pod.address(host)}/{pod.subnet.prefixlen}"
    leg = Port(MANAGEMENT, NATIVE_VLAN, address=address)
    way = UPLINK if host.simulated else MANAGEMENT
    return Device(
        name=host.name,
        kind=Kind.HOST,
        # The agent opens the uplink for a VLAN with the first port in it, and closes it with the last.
        switch=None if host.simulated else Switch("br-int", (Port(UPLINK, NATIVE_VLAN), leg)),
        addresses=((UPLINK, address),) if host.simulated else (),
        routes=(Route("0.0.0.0/0", way, str(pod.gateway)),),
        host=host,
        pod=pod.name,
        zone=zone.name,
        region=region.name,
    )


def _wires(region: Region) -> Iterator[Wire]:
    for server in region.management if region.servers > 1 else ():
        yield Wire(server.name, End(region.name, server.name), End(server.name, UPLINK))
    for zone in region.zones:
        yield Wire(zone.name, End(region.name, zone.name), End(zone.name, "server"))
        yield Wire(f"{zone.name}.public", End(zone.name, "public"), End("internet", zone.name))
        for pod in zone.pods:
            yield Wire(pod.name, End(zone.name, pod.name), End(pod.name, UPLINK))
            for host in pod.hosts:
                yield Wire(host.name, End(pod.name, host.name), End(host.name, UPLINK))


_WAN_FIREWALL = f"""\
table inet wan {{
  chain from_wan {{
    ct state established,related accept
    icmp type echo-request accept
    tcp dport {REGION_PORT} counter accept
    counter drop comment "refused"
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{WAN}" jump from_wan
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{WAN}" jump from_wan
  }}
}}
"""


def firewall(region: Region, zone: Zone) -> str:
    """The zone router's rules, for `nft -f`. What isn't listed is dropped, and counted.

    Hosts reach the gateway of the management servers and each other (images and machines travel between pods);
    nobody reaches a host or the router from the management servers' side or from outside.
    """
    legs = ", ".join(f'"gw-{pod.name}"' for pod in zone.pods)
    own = ", ".join(f"{pod.gateway}" for pod in zone.pods)
    servers = ", ".join(str(server.address) for server in region.management)
    guarded = "\n".join(
        f'    iifname "gw-{pod.name}" ip saddr != {pod.subnet} counter drop' for pod in zone.pods
    )
    return f"""\
table inet zone {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
{guarded}
    ct state invalid counter drop
    ct state established,related counter accept
    iifname {{ {legs} }} oifname "server" ip daddr {{ {servers} }} tcp dport {GATEWAY_PORT} counter accept
    iifname {{ {legs} }} oifname {{ {legs} }} ip daddr {zone.supernet} counter accept
    counter comment "refused"
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    iifname {{ {legs} }} ip daddr {{ {own} }} icmp type echo-request accept
    counter comment "refused"
  }}
}}
"""
