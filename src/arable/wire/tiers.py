"""How tiers of farms look: what one may ask for, and what is told of them."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.blueprints import VersionNumber
from arable.wire.common import CLOCK_PATTERN, Id, In, Name, NameOrId, Out, PageQuery
from arable.wire.elements import ElementOut

MetricName = Annotated[
    Literal["requests-per-s", "sessions", "response-ms", "cpu-percent", "memory-percent", "kbps"],
    Meta(description="The first three are of the tier's balancers, the others of its machines."),
]
DaysName = Annotated[
    Literal["daily", "mon-fri", "sat-sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"],
    Meta(description="On which days it begins."),
]
ClockTime = Annotated[
    str,
    Meta(
        pattern=CLOCK_PATTERN,
        description="Hours and minutes; in YAML in quotes.",
        examples=["08:00"],
    ),
]
Count = Annotated[int, Meta(ge=0, le=200)]
_Seconds = Annotated[int, Meta(ge=0, le=86_400)]
_Amount = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class TargetIn(In, frozen=True, kw_only=True):
    """So much for each element that serves is right."""

    metric: MetricName
    value: _Amount


class StepIn(In, frozen=True, kw_only=True):
    """More than `above` for so long: so many elements more."""

    metric: MetricName
    above: _Amount
    seconds: _Seconds = 30
    add: Annotated[int, Meta(ge=1, le=100)] = 1


class PolicyIn(In, frozen=True, kw_only=True):
    """How many elements there should be, by load: the largest number that any target or step wants."""

    targets: Annotated[tuple[TargetIn, ...], Meta(max_length=6)] = ()
    steps: Annotated[tuple[StepIn, ...], Meta(max_length=6)] = ()
    up_seconds: Annotated[_Seconds, Meta(description="The rest after there were made more.")] = 30
    down_seconds: Annotated[
        _Seconds, Meta(description="For so long fewer have to do before there are fewer.")
    ] = 300


class WindowIn(In, frozen=True, kw_only=True):
    """At least so many elements, from `begin` to `end` by the farm's clock; past midnight where `end` is not later."""

    days: DaysName = "daily"
    begin: ClockTime
    end: ClockTime
    least: Count
    lead_seconds: Annotated[
        _Seconds, Meta(description="So much earlier they are made, so that they serve in time.")
    ] = 120


class TierIn(In, frozen=True, kw_only=True):
    """Elements that are alike."""

    name: Annotated[Name, Meta(examples=["web"])]
    blueprint: Annotated[NameOrId, Meta(description="What they are made of.", examples=["web"])]
    version: Annotated[
        VersionNumber | Literal["newest"] | None,
        Meta(
            description=(
                "Of the blueprint: this one, which another one of it is rolled out for; `newest`: the newest each time that "
                "the document is applied; null: the newest when the tier is made, and no other."
            )
        ),
    ] = None
    image_version: Annotated[
        VersionNumber | Literal["newest"] | None,
        Meta(description="Of the blueprint's image, in the same way."),
    ] = None
    automatic: Annotated[
        bool,
        Meta(description="What is `newest` is rolled out as soon as it is published, too."),
    ] = False
    networks: Annotated[
        tuple[Name, ...],
        Meta(
            min_length=1,
            max_length=8,
            description="Names of the farm's networks; by the first they are called, and find their way out.",
        ),
    ]
    least: Annotated[Count, Meta(description="So many there always are.")] = 1
    most: Annotated[
        Count | None, Meta(description="More there never are; null: as many as there should be.")
    ] = None
    count: Annotated[
        Count | None,
        Meta(
            description="So many there should be now; null: `least` at first, and then as it is. Not heeded beside a policy."
        ),
    ] = None
    standby: Annotated[
        Count,
        Meta(
            description=(
                "So many more run and get nobody before they are needed: then they serve at once. They are used, and cost, as all "
                "others; with them there are never more than `most`."
            )
        ),
    ] = 0
    policy: PolicyIn | None = None
    windows: Annotated[tuple[WindowIn, ...], Meta(max_length=20)] = ()
    offering: Annotated[
        NameOrId | None, Meta(description="Instead of the one that the blueprint names.")
    ] = None
    region: Annotated[
        Name | None,
        Meta(
            description="Where its elements are, and the networks that it names; null: in the farm's own region.",
            examples=["london"],
        ),
    ] = None
    zone: Annotated[
        NameOrId | None,
        Meta(
            description=(
                "Beside a region: in which of its zones, which all tiers there share; null: the only one there. "
                "In the farm's own region its zone is said by the farm."
            ),
            examples=["london-2"],
        ),
    ] = None


class TierChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays."""

    count: Annotated[Count | UnsetType, Meta(description="So many there should be.")] = UNSET
    least: Count | UnsetType = UNSET
    most: Count | UnsetType = UNSET
    standby: Annotated[
        Count | UnsetType,
        Meta(description="So many more are kept ready, if `most` leaves room for them."),
    ] = UNSET


class LoadOut(Out, frozen=True, kw_only=True):
    """What a tier's elements bear together. Null: not known."""

    at: Annotated[datetime, Meta(description="When the oldest of these figures was told.")]
    requests_per_s: Annotated[float | None, Meta(description="Of HTTP, of its balancers.")]
    sessions: Annotated[float | None, Meta(description="Open ones of its balancers.")]
    response_ms: Annotated[
        float | None, Meta(description="The mean of its slowest balancer; of TCP, a connection's.")
    ]
    cpu_percent: Annotated[
        float | None,
        Meta(description="The sum of what its elements use, a whole element being 100."),
    ]
    memory_percent: Annotated[
        float | None,
        Meta(description="The same of memory, as guests tell it; null if one of them does not."),
    ] = None
    kbps: Annotated[
        float | None, Meta(description="What its elements receive and send on all their networks.")
    ] = None


class TierOut(Out, frozen=True, kw_only=True):
    """A tier."""

    id: Annotated[str, Meta(examples=["tier-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    farm: str
    name: str
    blueprint: str
    blueprint_version: int
    image: str
    image_version: int
    least: int
    most: int
    count: Annotated[int, Meta(description="So many there should be now.")]
    serving: Annotated[int, Meta(description="So many take part.")]
    standby: Annotated[int, Meta(description="So many more are to be kept ready.")]
    ready: Annotated[int, Meta(description="So many are.")]
    elements: list[ElementOut]
    networks: list[str]
    leaving: bool
    told: Annotated[str, Meta(description="What it waits for, if something was refused.")]
    load: Annotated[
        LoadOut | None,
        Meta(description="Of a tier with a policy or windows, as it was known last."),
    ]
    why: Annotated[
        str, Meta(description="For what its policy or a window last gave it another count.")
    ]
    generation: int
    created_at: datetime


class TierMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: it is kept, and elements follow."""

    operation: str
    tier: TierOut


class TierQuery(PageQuery, frozen=True, kw_only=True):
    """Which tiers."""

    farm: Id | None = None
    name: Name | None = None
    account: Id | None = None
