"""What a router has to do with other networks of its farm, as typed values, checked once (`router.py`).

Routers of a farm's networks meet on a VLAN of their own. Each leads there what its passages let begin, and takes from
there what they let begin: both ends of a connection ask the same rules, so neither has to trust the other.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from arable.appliance.values import (
    Address,
    Network,
    Ports,
    host_in,
    ports_of,
    to_network,
    to_network6,
)
from arable.domain.errors import BadInput
from arable.domain.guest_cidr import LINKS
from arable.domain.manifest import LinkPort, Neighbour, Passage, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A neighbour network of either family, and its router's address on the link."""

    cidr: Network
    via: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The port to the neighbours."""

    vlan: int
    address: IPv4Address
    near: tuple[Near, ...]

    @property
    def cidrs(self) -> list[IPv4Network]:
        """The neighbours' subnets."""
        return [each.cidr for each in self.near if isinstance(each.cidr, IPv4Network)]

    def leads_to(self, address: IPv4Address) -> bool:
        """Whether a neighbour has it."""
        return any(address in each.cidr for each in self.near)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """Connections from `source` to `target`, of one family, may begin. Only TCP and UDP have ports."""

    protocol: Protocol
    source: Network
    target: Network
    ports: Ports

    def admits(self, protocol: Protocol, source: Address, target: Address, port: int) -> bool:
        """Whether this lets such a one begin."""
        return source in self.source and self.leads_to(protocol, target, port)

    def leads_to(self, protocol: Protocol, target: Address, port: int) -> bool:
        """Whether it lets some begin there."""
        return (
            self.protocol in (Protocol.ALL, protocol)
            and target in self.target
            and port in self.ports
        )


def within(part: Network, whole: Network) -> bool:
    """Whether all of a network is in another; never of one of the other family."""
    if isinstance(part, IPv6Network):
        return isinstance(whole, IPv6Network) and part.subnet_of(whole)
    return isinstance(whole, IPv4Network) and part.subnet_of(whole)


def link(asked: LinkPort, cidr: IPv4Network) -> Link:
    """The port as typed values. Raises `BadInput` naming the field that can't be."""
    address = host_in(LINKS, asked.address, "link.address")
    near = neighbours(asked.neighbours, (cidr, LINKS), address, "link.neighbours")
    return Link(vlan=asked.vlan, address=address, near=near)


def neighbours(
    wishes: Iterable[Neighbour], taken: Iterable[Network], own: IPv4Address, where: str
) -> tuple[Near, ...]:
    """Networks of the family of those that are `taken`, which none of them overlaps; their routers are not `own`."""
    near: list[Near] = []
    parse, held = _parser(taken), list(taken)
    for index, each in enumerate(wishes):
        field = f"{where}.{index}"
        other = parse(each.cidr, f"{field}.cidr")
        via = host_in(LINKS, each.via, f"{field}.via")
        if any(other.overlaps(one) for one in held):
            raise BadInput(f"{other} is somewhere else already", field=f"{field}.cidr")
        if via in (own, *(seen.via for seen in near)):
            raise BadInput(f"{via} is another router's", field=f"{field}.via")
        near.append(Near(cidr=other, via=via))
        held.append(other)
    return tuple(near)


def _parser(networks: Iterable[Network]) -> Callable[[str, str], Network]:
    return to_network6 if any(each.version == 6 for each in networks) else to_network


def passing(
    wishes: Iterable[Passage], cidr: Network, near: Iterable[Near], where: str = "passages"
) -> tuple[Passing, ...]:
    """The passages as typed values, each with one end here and one at a neighbour, all of one family."""
    made: list[Passing] = []
    parse, others = _parser([cidr]), [each.cidr for each in near]
    for index, asked in enumerate(wishes):
        field = f"{where}.{index}"
        source = parse(asked.source, f"{field}.source")
        target = parse(asked.target, f"{field}.target")
        for here, there in ((source, target), (target, source)):
            if within(here, cidr) and any(within(there, other) for other in others):
                break
        else:
            raise BadInput(f"{source} to {target} does not lead through here", field=field)
        ports = ports_of(asked.first_port, asked.last_port, field)
        if asked.protocol is Protocol.ICMP and ports.last:
            raise BadInput("ICMP has no ports", field=f"{field}.first_port")
        both = asked.protocol is Protocol.ALL and ports.last
        made += (
            Passing(protocol=protocol, source=source, target=target, ports=ports)
            for protocol in ((Protocol.TCP, Protocol.UDP) if both else (asked.protocol,))
        )
    return tuple(made)
