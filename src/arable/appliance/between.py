"""What a router has to do with other networks of its farm, as typed values, checked once (`router.py`).

Routers of a farm's networks meet on a VLAN of their own. Each leads there what its passages let begin, and takes from
there what they let begin: both ends of a connection ask the same rules, so neither has to trust the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from arable.appliance.values import Ports, host_in, ports_of, to_network
from arable.domain.errors import BadInput
from arable.domain.guest_cidr import LINKS
from arable.domain.manifest import LinkPort, Passage, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A neighbour network, and its router's address on the link."""

    cidr: IPv4Network
    via: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The port to the neighbours."""

    vlan: int
    address: IPv4Address
    near: tuple[Near, ...]

    def leads_to(self, address: IPv4Address) -> bool:
        """Whether a neighbour has it."""
        return any(address in each.cidr for each in self.near)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """Connections from `source` to `target` may begin. Only TCP and UDP have ports."""

    protocol: Protocol
    source: IPv4Network
    target: IPv4Network
    ports: Ports

    def admits(
        self, protocol: Protocol, source: IPv4Address, target: IPv4Address, port: int
    ) -> bool:
        """Whether this lets such a one begin."""
        return source in self.source and self.leads_to(protocol, target, port)

    def leads_to(self, protocol: Protocol, target: IPv4Address, port: int) -> bool:
        """Whether it lets some begin there."""
        return (
            self.protocol in (Protocol.ALL, protocol)
            and target in self.target
            and port in self.ports
        )


def link(asked: LinkPort, cidr: IPv4Network) -> Link:
    """The port as typed values. Raises `BadInput` naming the field that can't be."""
    address = host_in(LINKS, asked.address, "link.address")
    near: list[Near] = []
    for index, each in enumerate(asked.neighbours):
        field = f"link.neighbours.{index}"
        other = to_network(each.cidr, f"{field}.cidr")
        via = host_in(LINKS, each.via, f"{field}.via")
        if any(other.overlaps(taken) for taken in (cidr, LINKS, *(seen.cidr for seen in near))):
            raise BadInput(f"{other} is somewhere else already", field=f"{field}.cidr")
        if via in (address, *(seen.via for seen in near)):
            raise BadInput(f"{via} is another router's", field=f"{field}.via")
        near.append(Near(cidr=other, via=via))
    return Link(vlan=asked.vlan, address=address, near=tuple(near))


def passing(wishes: Iterable[Passage], cidr: IPv4Network, to: Link | None) -> tuple[Passing, ...]:
    """The passages as typed values, each with one end here and one at a neighbour."""
    made: list[Passing] = []
    near = [each.cidr for each in to.near] if to else []
    for index, asked in enumerate(wishes):
        field = f"passages.{index}"
        source = to_network(asked.source, f"{field}.source")
        target = to_network(asked.target, f"{field}.target")
        for here, there in ((source, target), (target, source)):
            if here.subnet_of(cidr) and any(there.subnet_of(other) for other in near):
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
