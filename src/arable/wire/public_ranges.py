"""How ranges of public addresses look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Address, Id, In, NameOrId, Out, PageQuery
from arable.wire.zones import Cidr, UseOut


class PublicRangeIn(In, frozen=True, kw_only=True):
    """Addresses that accounts of a zone may take."""

    zone: Annotated[NameOrId, Meta(examples=["east"])]
    cidr: Annotated[Cidr, Meta(description="The public subnet.", examples=["198.51.100.0/24"])]
    gateway: Annotated[Address, Meta(examples=["198.51.100.1"])]
    first: Annotated[Address, Meta(examples=["198.51.100.10"])]
    last: Annotated[Address, Meta(examples=["198.51.100.250"])]
    vlan: Annotated[
        int,
        Meta(
            ge=2,
            le=4094,
            description="The public segment's tag at the hosts; what is untagged there is management.",
            examples=[901],
        ),
    ]


class PublicRangeOut(Out, frozen=True, kw_only=True):
    """A range of public addresses."""

    id: Annotated[str, Meta(examples=["range-0mh5z1x2k3q8w7e6r5t4"])]
    zone: str
    cidr: str
    gateway: str
    first: str
    last: str
    vlan: int
    addresses: UseOut
    created_at: datetime


class PublicRangeQuery(PageQuery, frozen=True, kw_only=True):
    """Which ranges."""

    zone: Id | None = None
