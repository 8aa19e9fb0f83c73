"""Who can reach whom in a simulated data centre, as its hosts have it: running guests, switches, routers, exports.

No row of the store and no manifest is looked at, so what is said here is what packets and blocks would meet, whatever
the control plane believes. Where a machine is called by everybody, at a public address, is none of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from arable.appliance.router import Router, router
from arable.domain.ids import HostId, MachineId, NicId, VolumeId
from arable.domain.layer2 import is_vni
from arable.domain.manifest import Protocol
from arable.drivers.hypervisor.protocol import NbdSource
from arable.drivers.network.protocol import Port, PortKind
from arable.drivers.simhost import SimHost
from arable.drivers.storage.sim_shared import SimExports

Between = tuple[MachineId, MachineId]
Where = Callable[[HostId], str]
"""Where a host's tunnels end."""


@dataclass(frozen=True, slots=True)
class End:
    """A port of a guest that runs."""

    machine: MachineId
    host: HostId
    port: Port


@dataclass(slots=True)
class Sight:
    """What there is. Pairs are of the one who reaches and the one who is reached; nobody reaches itself."""

    wire: set[Between] = field(default_factory=set)  # in one VLAN, whatever is sent
    led: set[Between] = field(default_factory=set)  # by routers of one farm, or their balancers
    named: set[Between] = field(default_factory=set)  # its name has an answer
    disks: dict[MachineId, set[VolumeId]] = field(default_factory=dict)  # that it can read
    served: dict[HostId, set[VolumeId]] = field(default_factory=dict)  # to computers, by others

    @property
    def reached(self) -> set[Between]:
        """In any way; machines that can read one disk reach each other."""
        return self.wire | self.led | self.named | set(_sharing(self.disks))

    def of(self, machine: MachineId) -> set[MachineId]:
        """Whom it reaches."""
        return {there for here, there in self.reached if here == machine}


def look(
    hosts: Mapping[HostId, SimHost],
    exports: Iterable[SimExports] = (),
    where: Where = lambda _host: "",
) -> Sight:
    """All of it, now."""
    exports = list(exports)
    ends = list(_ends(hosts))
    routers = list(_routers(hosts))
    made = Sight()
    for a in ends:
        mine = [each for each in routers if each.inside == a.port.vlan]
        for b in ends:
            if a.machine == b.machine:
                continue
            pair = (a.machine, b.machine)
            if _wired(a, b, hosts, where):
                made.wire.add(pair)
            if any(b.port.nic in each.told for each in mine):
                made.named.add(pair)
            if any(_leads(one, a, other, b) for one in mine for other in routers):
                made.led.add(pair)
    for host, sim in hosts.items():
        for machine, guest in sim.guests.items():
            if guest.awake and guest.runs:
                made.disks[machine] = {
                    volume
                    for disk in guest.runs.disks
                    for volume in (
                        _far(disk.nbd, host, exports) if disk.nbd else _near(sim, disk.path)
                    )
                }
    for each in exports:
        for held in (each.serving, each.standing_in):
            for volume, (_epoch, host) in held.items():
                made.served.setdefault(host, set()).add(volume)
    return made


def across(sight: Sight, farm_of: Mapping[MachineId, str]) -> set[Between]:
    """Who reaches a machine of another farm. One of an unknown farm is of a farm of its own."""
    return {(a, b) for a, b in sight.reached if farm_of.get(a, a) != farm_of.get(b, b)}


@dataclass(frozen=True, slots=True)
class _Routing:
    """A router, where it is plugged in, and of which ports it tells the names. None that leads to no machine is read."""

    router: Router | None
    inside: int
    link: int  # 0: none
    told: AbstractSet[NicId]


def _ends(hosts: Mapping[HostId, SimHost]) -> Iterator[End]:
    for host, sim in hosts.items():
        for machine, guest in sim.guests.items():
            for plugged in guest.runs.ports if guest.awake and guest.runs else ():
                nic = sim.devices.get(plugged.device)
                if nic is not None and sim.ports[nic].kind is PortKind.TAP:
                    yield End(machine, host, sim.ports[nic])


def _routers(hosts: Mapping[HostId, SimHost]) -> Iterator[_Routing]:
    for sim in hosts.values():
        for network, held in sim.appliances.items():
            key = network.partition("-")[2]
            inside, link = (sim.ports.get(NicId(f"{end}-{key}")) for end in ("gw", "lnk"))
            if inside is not None:
                vlan = link.vlan if link else 0
                made = router(held.wish) if vlan or held.wish.inners else None
                yield _Routing(made, inside.vlan, vlan, held.leases.keys())


def _wired(a: End, b: End, hosts: Mapping[HostId, SimHost], where: Where) -> bool:
    """Whether a frame of one gets to the other: a VLAN is on every trunk, a VNI goes to those that were named."""
    if a.port.vlan != b.port.vlan:
        return False
    if a.host == b.host or not is_vni(a.port.vlan):
        return True
    tunnel = hosts[a.host].tunnels.get(a.port.vlan)
    return tunnel is not None and where(b.host) in tunnel.hosts


def _leads(one: _Routing, a: End, other: _Routing, b: End) -> bool:
    """Whether a connection that one begins comes, by these two routers, to the other, or to a balancer in front of it."""
    same = one is other
    if not (one.router and other.router) or not (same or (one.link and one.link == other.link)):
        return False
    source, there = IPv4Address(a.port.address), IPv4Address(b.port.address)
    passes = [each.passings for each in (one.router, other.router)]
    for kind in (Protocol.TCP, Protocol.UDP, Protocol.ICMP):
        if (
            not same
            and other.inside == b.port.vlan
            and all(
                any(
                    each.protocol in (kind, Protocol.ALL)
                    and source in each.source
                    and there in each.target
                    for each in ways
                )
                for ways in passes
            )
        ):
            return True
    for balancer in other.router.balancers:
        leads = other.inside == b.port.vlan and any(m.nic == b.port.nic for m in balancer.servers)
        if not (balancer.inner and balancer.port and leads):
            continue
        gateway = other.router.gateway
        if same or all(
            any(each.admits(Protocol.TCP, source, gateway, balancer.port) for each in ways)
            for ways in passes
        ):
            return True
    return False


def _near(sim: SimHost, path: object) -> Iterator[VolumeId]:
    for pool in sim.pools.values():
        yield from (id_ for id_, found in pool.volumes.items() if found.path == path)


def _far(source: NbdSource, host: HostId, exports: Iterable[SimExports]) -> Iterator[VolumeId]:
    if any(each.reaches(source, host) for each in exports):
        yield VolumeId(source.name.rpartition(".e")[0])


def _sharing(disks: Mapping[MachineId, AbstractSet[VolumeId]]) -> Iterator[Between]:
    readers: dict[VolumeId, list[MachineId]] = {}
    for machine, volumes in disks.items():
        for volume in volumes:
            readers.setdefault(volume, []).append(machine)
    for those in readers.values():
        yield from ((a, b) for a in those for b in those if a != b)
