"""How farms look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Id, Name, Out, PageQuery


class FarmOut(Out, frozen=True, kw_only=True):
    """A farm: the customer's private data centre in a zone. The default one is made on first use."""

    id: str
    account: str
    zone: str
    name: str
    generation: int
    created_at: datetime


class FarmQuery(PageQuery, frozen=True, kw_only=True):
    """Which farms."""

    zone: Id | None = None
    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
    account: Id | None = None
