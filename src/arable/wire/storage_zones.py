"""How storage zones look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Id, In, Name, NameOrId, Out, PageQuery


class StorageZoneIn(In, frozen=True, kw_only=True):
    """One that farms are to share: their machines may have each other's volumes, one at a time."""

    name: Annotated[Name, Meta(description="Unique in account and zone.", examples=["books"])]
    zone: Annotated[
        NameOrId | None, Meta(description="Where; may be left out while there is one zone only.")
    ] = None


class StorageZoneOut(Out, frozen=True, kw_only=True):
    """The part of the storage that machines of some farms reach, and nobody else's."""

    id: str
    account: str
    zone: str
    name: str
    farms: Annotated[int, Meta(description="That were made with it.")]
    machines: Annotated[int, Meta(description="Of these farms.")]
    volumes: Annotated[int, Meta(description="That are in it, those of machines among them.")]
    created_at: datetime


class StorageZoneQuery(PageQuery, frozen=True, kw_only=True):
    """Which storage zones."""

    zone: Id | None = None
    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
    account: Id | None = None
