"""IPv6 of guest networks: which ranges a zone has, which /64 a network gets, and which address a machine's port has.

An address is worked out, never kept: from the network's /64 and the port's MAC (EUI-64, RFC 4291, appendix A). So a guest
that makes one of what its router advertises, and one that asks by DHCPv6, have the same, and whoever has prefix and MAC knows it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import Ipv6RangeId, ZoneId

WIDEST, NARROWEST, GUESTS = 32, 63, 64
"""Prefix lengths: of ranges, and of each guest network."""
FIRST = 1
"""Number of the first /64 of a range that a network gets: the one before it is the operator's, as for the gateway."""
_LINK_LOCAL = IPv6Network("fe80::/64")
_LOCAL = IPv6Network("fe80::/10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipv6Range:
    """A range of a zone, out of which its guest networks get a /64 each.

    `gateway` is the way to the world, on the zone's public VLAN; empty: there is none, and IPv6 ends at the networks'
    routers. The next number is looked for from `cursor` on, so that a /64 is another one's again as late as possible.
    """

    id: Ipv6RangeId
    zone: ZoneId
    cidr: str
    gateway: str = ""
    cursor: int = FIRST
    created_at: datetime

    @property
    def networks(self) -> int:
        """How many guest networks can have a /64 of it."""
        return subnets(self.cidr) - FIRST


def subnets(cidr: str) -> int:
    """How many /64 a range has."""
    return int(2 ** (GUESTS - IPv6Network(cidr).prefixlen))


def subnet(cidr: str, number: int) -> str:
    """The /64 of that number of a range."""
    base = int(IPv6Network(cidr).network_address) + (number << 64)
    return str(IPv6Network((base, GUESTS)))


@lru_cache(maxsize=4096)
def gateway_of(cidr: str) -> str:
    """The router's address in a guest network's /64: the first. No machine has it: theirs have ff:fe in their middles."""
    return str(IPv6Network(cidr).network_address + 1)


@lru_cache(maxsize=4096)
def _base(cidr: str) -> int:
    return int(IPv6Network(cidr).network_address)


def address_of(cidr: str, mac: str) -> str:
    """The address of a port of this MAC in a /64."""
    return str(IPv6Address(_base(cidr) | _interface(mac)))


def twin_of(cidr: str, public: str) -> str:
    """The address in a network's /64 that goes with a public address of IPv4. No machine has it, for the same reason."""
    return str(IPv6Address(_base(cidr) | int(IPv4Address(public))))


def on_link(address: IPv4Address) -> str:
    """Of the router that has this address where routers of a farm meet: it needs no plan, as that one needs none."""
    return str(IPv6Address(int(_LINK_LOCAL.network_address) | int(address)))


def prefix_of(address: str) -> str:
    """The /64 in which an address is."""
    return str(IPv6Network((address, GUESTS), strict=False))


def number_in(range_: str, cidr: str) -> int | None:
    """Which of a range's /64 that is; None for one of another range, or of no /64."""
    try:
        found, of = IPv6Network(cidr), IPv6Network(range_)
    except ValueError:
        return None
    if found.prefixlen != GUESTS or not found.subnet_of(of):
        return None
    return (int(found.network_address) - int(of.network_address)) >> (128 - GUESTS)


def link_local(mac: str) -> str:
    """The address of a port of this MAC on its own link."""
    return str(IPv6Address(int(_LINK_LOCAL.network_address) | _interface(mac)))


def _interface(mac: str) -> int:
    """The modified EUI-64: ff:fe in the middle, and the bit that says "universal" turned round."""
    number = int(mac.replace(":", ""), 16) ^ 0x02_00_00_00_00_00
    return (number >> 24) << 40 | 0xFFFE << 24 | (number & 0xFF_FF_FF)


def check_range(asked: Ipv6Range) -> Ipv6Range:
    """The range in its usual form; raises `BadInput` unless it makes sense by itself."""
    try:
        found = IPv6Network(asked.cidr)
    except ValueError:
        raise BadInput(
            "not an IPv6 range: it looks like 2001:db8:100::/48, with no bits set after the prefix",
            field="cidr",
        ) from None
    if not WIDEST <= found.prefixlen <= NARROWEST:
        raise BadInput(
            f"a range is from /{WIDEST} to /{NARROWEST}: its first /{GUESTS} is the gateway's, and each network gets "
            "another one",
            field="cidr",
        )
    here = found.network_address
    if here.is_multicast or here.is_link_local or here.is_loopback or not int(here) >> 64:
        raise BadInput("not a range in which machines can have addresses", field="cidr")
    gateway = _gateway(found, asked.gateway) if asked.gateway else ""
    return Ipv6Range(
        id=asked.id,
        zone=asked.zone,
        cidr=str(found),
        gateway=gateway,
        created_at=asked.created_at,
    )


def _gateway(within: IPv6Network, text: str) -> str:
    try:
        found = IPv6Address(text)
    except ValueError:
        raise BadInput("not an IPv6 address", field="gateway") from None
    first = IPv6Network((int(within.network_address), GUESTS))
    if found == within.network_address or not (found in first or found in _LOCAL):
        raise BadInput(
            f"is to be in {first}, the first /{GUESTS} of the range, or link-local (fe80::)",
            field="gateway",
        )
    return str(found)


def check_beside(asked: Ipv6Range, there: Iterable[Ipv6Range]) -> None:
    """Raises `Conflict` when it overlaps another range, of whichever zone: addresses are the world's."""
    for other in there:
        if IPv6Network(asked.cidr).overlaps(IPv6Network(other.cidr)):
            raise Conflict(f"overlaps with {other.cidr}, another IPv6 range", field="cidr")
