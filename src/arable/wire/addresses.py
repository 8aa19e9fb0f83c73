"""How public addresses look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Id, In, NameOrId, Out, PageQuery
from arable.wire.machines import Address


class AddressIn(In, frozen=True, kw_only=True):
    """A public address for the account."""

    zone: Annotated[
        NameOrId | None, Meta(description="Where; may be left out while there is one zone only.")
    ] = None
    address: Annotated[
        Address | None,
        Meta(description="This one, if it is free; null: any.", examples=["198.51.100.7"]),
    ] = None


class AssociateIn(In, frozen=True, kw_only=True):
    """Which network's appliance should answer for the address."""

    network: Annotated[NameOrId, Meta(description="Of the same account and zone.")]


class AddressOut(Out, frozen=True, kw_only=True):
    """A public address that an account has."""

    id: str
    account: str
    zone: str
    address: str
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
