"""How placement groups look outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from arable.wire.common import Id, In, Name, Out, PageQuery

RuleName = Annotated[
    Literal["apart", "together"],
    Meta(description="Members on different hosts, or all on one."),
]


class GroupIn(In, frozen=True, kw_only=True):
    """A new placement group; machines join it when they are deployed."""

    name: Name
    rule: RuleName
    strict: Annotated[
        bool, Meta(description="False: a preference, given up when nothing else fits.")
    ] = True


class GroupOut(Out, frozen=True, kw_only=True):
    """A placement group."""

    id: str
    account: str
    name: str
    rule: RuleName
    strict: bool
    members: Annotated[
        int, Meta(description="How many machines; destroyed ones count until they are gone.")
    ]
    created_at: datetime


class GroupQuery(PageQuery, frozen=True, kw_only=True):
    """Which groups."""

    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
    account: Id | None = None
