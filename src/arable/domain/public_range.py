"""A range of public addresses of a zone, each of which can be taken by one account (rule 3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network

from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import RangeId, ZoneId
from arable.domain.subnet import inside, network

MOST_ADDRESSES = 4096
"""In one range: each address is a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicRange:
    """`first` to `last` of the subnet `cidr`, reached through `gateway`, on VLAN `vlan` (0: untagged)."""

    id: RangeId
    zone: ZoneId
    cidr: str
    gateway: str
    first: str
    last: str
    vlan: int = 0
    created_at: datetime

    def addresses(self) -> range:
        """Its addresses as numbers."""
        return range(int(IPv4Address(self.first)), int(IPv4Address(self.last)) + 1)


def check_range(asked: PublicRange) -> None:
    """Raises `BadInput` unless the range makes sense by itself."""
    subnet = network(asked.cidr, "cidr")
    if subnet.prefixlen > 30:
        raise BadInput("too small to hold a gateway and an address", field="cidr")
    gateway = inside(subnet, asked.gateway, "gateway")
    first = inside(subnet, asked.first, "first")
    last = inside(subnet, asked.last, "last")
    if first > last:
        raise BadInput("comes before the first, so there is no address", field="last")
    if first <= gateway <= last:
        raise BadInput("is among the addresses that would be given away", field="gateway")
    if int(last) - int(first) + 1 > MOST_ADDRESSES:
        raise BadInput(f"a range has at most {MOST_ADDRESSES} addresses", field="last")


def check_beside(asked: PublicRange, there: Iterable[PublicRange]) -> None:
    """Raises `Conflict` unless the (sensible) range fits to the zone's others.

    Two ranges may be parts of one subnet, and then have its gateway and VLAN in common; half a subnet is none.
    """
    for other in there:
        ours, theirs = IPv4Network(asked.cidr), IPv4Network(other.cidr)
        if not ours.overlaps(theirs):
            continue
        if ours != theirs:
            raise Conflict(f"overlaps with {other.cidr}, another public range", field="cidr")
        if (asked.gateway, asked.vlan) != (other.gateway, other.vlan):
            raise Conflict(
                f"{other.cidr} has the gateway {other.gateway} and VLAN {other.vlan} already",
                field="gateway" if asked.gateway != other.gateway else "vlan",
            )
        mine, its = asked.addresses(), other.addresses()
        if mine.start < its.stop and its.start < mine.stop:
            raise Conflict(f"overlaps with the range {other.first} to {other.last}", field="first")
