"""Which subnets guest networks may have, and where in them addresses are given out.

Private ones only: a guest network that carried public addresses would hide those from its machines. Two networks of one
account in a zone never overlap, since their owner may want to connect them one day; networks of different accounts
never meet.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network

from arable.domain.errors import BadInput, Conflict
from arable.domain.network import Network, NetworkState
from arable.domain.subnet import inside, network

WIDEST, NARROWEST = 16, 29
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
LINKS = IPv4Network("169.254.64.0/20")
"""Where routers of one farm meet. No guest and nobody outside has an address of these."""
NUMBERS = range(1, LINKS.num_addresses - 1)
"""Of networks in their farm: each has an address among those."""
FIRST_OFFSET = 2
"""Of machines: 0 names the network itself, 1 is the gateway."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """A guest subnet as numbers, for giving out thousands of addresses."""

    base: int
    size: int

    @property
    def last_offset(self) -> int:
        """The last that a machine can have; the one after it is the broadcast address."""
        return self.size - 2

    @property
    def room(self) -> int:
        """How many machines' ports it can hold."""
        return self.last_offset - FIRST_OFFSET + 1

    def address(self, offset: int) -> str:
        """The address at a distance from the first."""
        number = self.base + offset
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def offset(self, address: str, field: str) -> int:
        """Where an address that a machine may ask for stands; raises `BadInput`."""
        subnet = IPv4Network((self.base, 32 - (self.size - 1).bit_length()))
        offset = int(inside(subnet, address, field)) - self.base
        if offset < FIRST_OFFSET:
            raise BadInput(f"{address} is the network's gateway", field=field)
        return offset


@lru_cache(maxsize=4096)
def subnet_of(cidr: str) -> Subnet:
    """Of a stored network."""
    found = IPv4Network(cidr)
    return Subnet(int(found.network_address), found.num_addresses)


@lru_cache(maxsize=1024)
def checked(text: str, field: str = "cidr") -> IPv4Network:
    """A subnet that a guest network can have; raises `BadInput` saying why not."""
    found = network(text, field)
    if not WIDEST <= found.prefixlen <= NARROWEST:
        raise BadInput(f"a guest network is from /{WIDEST} to /{NARROWEST}", field=field)
    if not any(found.subnet_of(private) for private in _PRIVATE):
        wanted = ", ".join(map(str, _PRIVATE))
        raise BadInput(f"not a private subnet: it must be inside of {wanted}", field=field)
    return found


def check_beside(asked: IPv4Network, there: Iterable[Network], field: str = "cidr") -> None:
    """Raises `Conflict` when it overlaps one of the account's; those on their way out don't count."""
    for other in there:
        if other.state is NetworkState.READY and asked.overlaps(IPv4Network(other.cidr)):
            raise Conflict(
                f"overlaps with {other.cidr} of your network {other.name} in this zone", field=field
            )


def gateway_of(subnet: IPv4Network) -> str:
    """The appliance's address: the first."""
    return str(subnet.network_address + 1)


def link_address(number: int) -> str:
    """Of the router of the network that has this number in its farm, wherever it runs."""
    return str(LINKS[number])
