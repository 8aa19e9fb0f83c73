"""How pods look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Address, Id, In, Name, NameOrId, Out, PageQuery
from arable.wire.zones import Cidr


class PodIn(In, frozen=True, kw_only=True):
    """A new pod."""

    zone: Annotated[NameOrId, Meta(examples=["east"])]
    name: Name
    cidr: Annotated[
        Cidr, Meta(description="The hosts' management subnet.", examples=["10.20.1.0/24"])
    ]
    gateway: Annotated[
        Address | None, Meta(description="The management subnet's router.", examples=["10.20.1.1"])
    ] = None


class PodChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays."""

    name: Name | UnsetType = UNSET
    enabled: (
        Annotated[bool, Meta(description="False: nothing new is placed there.")] | UnsetType
    ) = UNSET


class PodOut(Out, frozen=True, kw_only=True):
    """A pod."""

    id: Annotated[str, Meta(examples=["pod-0mh5z1x2k3q8w7e6r5t4"])]
    zone: str
    name: str
    cidr: str
    gateway: str
    enabled: bool
    generation: int
    created_at: datetime


class PodQuery(PageQuery, frozen=True, kw_only=True):
    """Which pods."""

    zone: Id | None = None
    name: Name | None = None
