"""How elements of tiers look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Id, In, Name, Out, PageQuery


class ElementOut(Out, frozen=True, kw_only=True):
    """A place in a tier, which has at most one machine at a time."""

    id: Annotated[str, Meta(examples=["element-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    farm: str
    tier: str
    number: int
    name: Annotated[
        str,
        Meta(
            description="Of farm, tier and number; its machine is called so.",
            examples=["shop-web-2"],
        ),
    ]
    state: Annotated[
        str,
        Meta(
            description=(
                "`waiting`: has no machine. `making`: its machine does not run yet. `proving`: it runs, and was not seen well "
                "yet. `serving`. `draining`: gets nobody new. `leaving`: its routers have yet to forget it. `dropping`: its "
                "machine goes."
            )
        ),
    ]
    machine: str | None
    blueprint_version: Annotated[int, Meta(description="Of which its machine was made.")]
    image_version: int
    since: Annotated[datetime, Meta(description="It is in its state.")]
    told: Annotated[str, Meta(description="What is wrong with it, or was last.")]
    operation: Annotated[
        str | None,
        Meta(description="That waits for it to have another machine, if one was asked for."),
    ] = None
    generation: int


class ElementQuery(PageQuery, frozen=True, kw_only=True):
    """Which elements."""

    tier: Id | None = None
    farm: Id | None = None
    name: Annotated[Name | None, Meta(description="The whole one.", examples=["shop-web-2"])] = None
    account: Id | None = None


class ElementReplaceIn(In, frozen=True, kw_only=True):
    """How it is to be replaced."""

    force: Annotated[
        bool,
        Meta(
            description="Even if fewer elements serve meanwhile than the tier's `least`. Those who are there are led away all the same."
        ),
    ] = False
