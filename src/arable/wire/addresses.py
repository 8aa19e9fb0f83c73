"""How public addresses look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Address, Id, In, Name, NameOrId, Out, PageQuery


class AddressIn(In, frozen=True, kw_only=True):
    """A public address for the account."""

    zone: Annotated[
        NameOrId | None, Meta(description="Where; may be left out while there is one zone only.")
    ] = None
    address: Annotated[
        Address | None,
        Meta(description="This one, if it is free; null: any.", examples=["198.51.100.7"]),
    ] = None
    name: Annotated[
        Name | None, Meta(description="Unique in account and zone; null: it has none.")
    ] = None


class AddressChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays."""

    name: Annotated[
        Name | UnsetType | None, Meta(description="Unique in account and zone; null: none.")
    ] = UNSET


class AssociateIn(In, frozen=True, kw_only=True):
    """Which network's appliance should answer for the address."""

    network: Annotated[NameOrId, Meta(description="Of the same account and zone.")]


class AddressOut(Out, frozen=True, kw_only=True):
    """A public address that an account has."""

    id: str
    account: str
    zone: str
    address: str
    name: str | None
    network: Annotated[str | None, Meta(description="Whose appliance answers for it.")]
    source_nat: Annotated[bool, Meta(description="Whether the network's machines go out with it.")]
    taken_at: datetime | None
    generation: int


class AddressQuery(PageQuery, frozen=True, kw_only=True):
    """Which addresses."""

    zone: Id | None = None
    network: Id | None = None
    account: Id | None = None
    address: Address | None = None
    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
