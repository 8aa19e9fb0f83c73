"""Text that came a long way, as values that can't hold anything else; what doesn't fit is refused, naming the field."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from arable.domain.errors import BadInput

LAST_PORT = 65_535

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Ports:
    """From `first` to `last`; all of them when both are 0."""

    first: int = 0
    last: int = 0

    def __contains__(self, port: int) -> bool:
        return not self.last or self.first <= port <= self.last


def ports_of(first: int, last: int, field: str) -> Ports:
    """A range of ports, or all."""
    if (first, last) != (0, 0) and not 1 <= first <= last <= LAST_PORT:
        raise BadInput(f"{first} to {last} is no range of ports", field=f"{field}.first_port")
    return Ports(first, last)


def own_public(address: IPv4Address, publics: Sequence[IPv4Address], field: str) -> IPv4Address:
    """One of the public addresses of the network."""
    if address not in publics:
        raise BadInput(f"{address} is no public address of this network", field=field)
    return address


def to_address(text: str, field: str) -> IPv4Address:
    """Four numbers."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise BadInput(f"{text!r} is no IPv4 address", field=field) from None


def to_network(text: str, field: str) -> IPv4Network:
    """Four numbers and a prefix, without bits after it."""
    try:
        return IPv4Network(text)
    except ValueError:
        raise BadInput(f"{text!r} is no IPv4 network", field=field) from None


def to_network6(text: str, field: str) -> IPv6Network:
    """The same of IPv6."""
    try:
        return IPv6Network(text)
    except ValueError:
        raise BadInput(f"{text!r} is no IPv6 network", field=field) from None


def either_network(text: str, field: str) -> Network:
    """A network of either family; raises `BadInput`."""
    return to_network6(text, field) if ":" in text else to_network(text, field)


def host_in(cidr: IPv4Network, text: str, field: str) -> IPv4Address:
    """An address that a machine of the network may have."""
    address = to_address(text, field)
    if address not in cidr or address in (cidr.network_address, cidr.broadcast_address):
        raise BadInput(f"{address} is no address for a machine in {cidr}", field=field)
    return address
