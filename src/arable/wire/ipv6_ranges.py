"""How ranges of IPv6 look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Id, In, NameOrId, Out, PageQuery
from arable.wire.zones import UseOut

Ipv6Cidr = Annotated[
    str,
    Meta(
        min_length=4,
        max_length=43,
        pattern=r"^[0-9A-Fa-f:]+/[0-9]{1,3}$(?!\n)",
        description="An IPv6 range from /32 to /63; no bits are set after the prefix.",
        examples=["2001:db8:100::/48"],
    ),
]
Ipv6Address = Annotated[
    str,
    Meta(
        min_length=2, max_length=39, pattern=r"^[0-9A-Fa-f:]+$(?!\n)", examples=["2001:db8:100::1"]
    ),
]


class Ipv6RangeIn(In, frozen=True, kw_only=True):
    """IPv6 for a zone: each guest network that asks for it has a /64 of this range."""

    zone: Annotated[NameOrId, Meta(examples=["east"])]
    cidr: Ipv6Cidr
    gateway: Annotated[
        Ipv6Address | None,
        Meta(
            description=(
                "The way to the world, on the VLAN of the zone's public addresses, where all of the range is to be "
                "on-link: in the first /64, which no network gets, or link-local. Null: IPv6 ends at the networks' routers."
            )
        ),
    ] = None


class Ipv6RangeOut(Out, frozen=True, kw_only=True):
    """A range of IPv6."""

    id: Annotated[str, Meta(examples=["prefix-0mh5z1x2k3q8w7e6r5t4"])]
    zone: str
    cidr: str
    gateway: str | None
    networks: Annotated[UseOut, Meta(description="How many guest networks can have a /64.")]
    created_at: datetime


class Ipv6RangeQuery(PageQuery, frozen=True, kw_only=True):
    """Which ranges."""

    zone: Id | None = None
