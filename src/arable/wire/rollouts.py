"""How rollouts look, and the report of who runs which release."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from arable.wire.common import Id, Out, PageQuery


class ReleaseOut(Out, frozen=True, kw_only=True):
    """What elements are made of."""

    blueprint_version: int
    image_version: int


class RolloutOut(Out, frozen=True, kw_only=True):
    """The elements of a tier are made anew, some at a time, of another release; or, when that fails, of the one before."""

    id: Annotated[str, Meta(examples=["rollout-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    farm: str
    tier: str
    name: Annotated[str, Meta(description="Of farm and tier.", examples=["shop-web"])]
    state: Annotated[
        Literal["rolling", "paused", "back", "done", "failed"],
        Meta(
            description="back: elements are made of the release before again; failed: that is done."
        ),
    ]
    before: ReleaseOut
    goal: ReleaseOut
    surge: int
    unavailable: int
    bake_seconds: int
    canary: Annotated[
        int, Meta(description="So many new elements are made first, and watched; 0: no canary.")
    ] = 0
    canary_seconds: Annotated[int, Meta(description="For so long they are watched.")] = 0
    may_fail: Annotated[int, Meta(description="So many new elements may fail.")]
    failures: Annotated[int, Meta(description="So many did.")]
    renewed: Annotated[
        int,
        Meta(description="So many elements are of the goal; on the way back, of the one before."),
    ]
    count: Annotated[int, Meta(description="So many elements there should be now.")]
    told: Annotated[str, Meta(description="What it waits for, or why it was turned back.")]
    operation: str | None
    generation: int
    created_at: datetime
    ended_at: datetime | None


class RolloutMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: elements follow."""

    operation: str
    rollout: RolloutOut


class RolloutQuery(PageQuery, frozen=True, kw_only=True):
    """Which rollouts."""

    farm: Id | None = None
    tier: Id | None = None
    state: Annotated[
        Literal["open", "over"] | None, Meta(description="Whether it is still under way.")
    ] = None
    account: Id | None = None


class RunsOut(Out, frozen=True, kw_only=True):
    """So many elements of a tier that are made of one release."""

    blueprint_version: int
    image_version: int
    elements: int
    serving: int


class TierReleasesOut(Out, frozen=True, kw_only=True):
    """What the elements of a tier run, and what is the newest that they could."""

    tier: str
    account: str
    farm: str
    farm_name: str
    name: str
    blueprint: str
    blueprint_name: str
    blueprint_version: Annotated[int, Meta(description="Of which elements should be made.")]
    newest_blueprint_version: int
    image: str
    image_name: str
    image_version: Annotated[int, Meta(description="Of which elements should be made.")]
    newest_image_version: int
    follows: Annotated[
        Literal["newest", "asked", "pinned"],
        Meta(
            description="When it gets another version of its image: the newest, or that which its document says, or only "
            "by a change of it."
        ),
    ]
    automatic: Annotated[bool, Meta(description="Newer versions are rolled out by themselves.")]
    behind: Annotated[
        bool, Meta(description="It, or one of its elements, is not of the newest versions.")
    ]
    rollout: Annotated[str | None, Meta(description="The one that is under way.")]
    runs: list[RunsOut]


class ReleaseQuery(PageQuery, frozen=True, kw_only=True):
    """Which tiers."""

    image: Annotated[Id | None, Meta(description="Made of this image.")] = None
    blueprint: Annotated[Id | None, Meta(description="Made of this blueprint.")] = None
    farm: Id | None = None
    behind: Annotated[
        bool | None, Meta(description="Only those that are behind the newest versions, or are not.")
    ] = None
    account: Id | None = None
