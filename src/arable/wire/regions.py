"""How the grid and its regions look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import In, Name, Out, PageQuery, Plain

IN_NO_GRID = "this cloud is in no grid"
"""How refusals begin that only joining one helps against."""

RegionName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$(?!\n)",
        description="A region's name: a DNS label, the same in the whole grid.",
        examples=["eu-1"],
    ),
]
StateOfRegion = Annotated[
    str,
    Meta(
        description="reached; silent: the grid manager has not heard it lately; gone: it was removed.",
        examples=["reached"],
    ),
]


class RegionAmount(Out, frozen=True, kw_only=True):
    """Of one kind of capacity in a zone."""

    total: Annotated[int, Meta(description="What can be reserved, over-commit included.")]
    reserved: int
    idle: Annotated[int, Meta(description="Free where machines may go now.")]


class RegionZone(Out, frozen=True, kw_only=True):
    """A zone of a region, as that region said last. Figures are for operators; null for others."""

    id: str
    name: str
    enabled: bool
    hosts: int | None = None
    hosts_up: int | None = None
    machines: int | None = None
    used_millicpus: Annotated[
        int | None, Meta(description="What its machines' processors really do.")
    ] = None
    cpu_mhz: RegionAmount | None = None
    memory_mib: RegionAmount | None = None
    disk_mib: RegionAmount | None = None
    free_addresses: int | None = None


class RegionAlert(Out, frozen=True, kw_only=True):
    """Something that an operator of that region should look at."""

    region: str
    id: str
    kind: str
    severity: str
    name: str
    text: str
    since: datetime


class RegionOut(Out, frozen=True, kw_only=True):
    """A region of the grid, as it was known here at `as_of`."""

    id: Annotated[str, Meta(examples=["region-0mh5z1x2k3q8w7e6r5t4"])]
    name: str
    state: StateOfRegion
    own: Annotated[bool, Meta(description="Whether it is the one that answers.")]
    as_of: Annotated[
        datetime | None,
        Meta(description="When the region was last heard; what is shown of it is no newer."),
    ]
    told: Annotated[
        str,
        Meta(
            description="How old this is, where that matters.",
            examples=["london was last heard 3 min ago"],
        ),
    ]
    zones: tuple[RegionZone, ...]
    alerts: Annotated[int, Meta(description="Open ones; 0 for those who may not know.")]
    images: Annotated[int, Meta(description="Image versions that it told of.")]
    address: Annotated[str, Meta(description="Of its grid port; empty: it has none.")]
    software: str
    labels: Annotated[
        tuple[str, ...], Meta(description="By which policies of images may mean it.")
    ] = ()
    refused: Annotated[
        tuple[str, ...],
        Meta(description="What it said and the grid manager could not read. For operators there."),
    ] = ()
    created_at: datetime


class RegionChange(In, frozen=True, kw_only=True):
    """What the grid manager says of a region. What is left out stays."""

    labels: Annotated[
        Annotated[tuple[Name, ...], Meta(max_length=100)] | UnsetType,
        Meta(description="By which policies of images may mean it: eu, for example."),
    ] = UNSET


class RegionQuery(PageQuery, frozen=True, kw_only=True):
    """Which regions."""

    name: RegionName | None = None


class GridOut(Out, frozen=True, kw_only=True):
    """The grid, seen from here: the grid manager itself, or a region with its copy."""

    role: Annotated[
        str,
        Meta(description="grid: the grid manager; region; alone: a region that is in no grid."),
    ]
    region: Annotated[str, Meta(description="The one that answers; empty at the grid manager.")]
    grid: Annotated[str, Meta(description="Where that region reaches the grid manager.")]
    heard_at: Annotated[
        datetime | None, Meta(description="When the region last heard the grid manager.")
    ]
    told: Annotated[str, Meta(description="What is wrong, and how old this is.")]
    regions: int
    reached: int
    silent: int
    hosts: int
    hosts_up: int
    machines: int
    used_millicpus: int
    cpu_mhz: RegionAmount
    memory_mib: RegionAmount
    disk_mib: RegionAmount
    images: Annotated[
        int, Meta(description="Image versions, counted in each region that has them.")
    ]
    alerts: Annotated[
        tuple[RegionAlert, ...], Meta(description="All regions' open ones, the worst first.")
    ]


class GridTokenIn(In, frozen=True, kw_only=True):
    """Lets one region join the grid."""

    region: Annotated[
        RegionName | None,
        Meta(
            description="The one region that may; needed for one that is in the grid already and lost its certificate."
        ),
    ] = None
    seconds: Annotated[int, Meta(ge=60, le=7 * 86_400, description="How long it counts.")] = 10_800


class GridTokenOut(Out, frozen=True, kw_only=True):
    """A token with its text, which is shown this once."""

    id: Annotated[str, Meta(examples=["gridtoken-0mh5z1x2k3q8w7e6r5t4"])]
    region: str | None
    expires_at: datetime
    token: Annotated[
        str | None,
        Meta(description="For `arable region join`. It works once, and also says whom to trust."),
    ]


class JoinGridIn(In, frozen=True, kw_only=True):
    """Become a region of a grid."""

    grid: Annotated[
        Plain,
        Meta(
            min_length=3,
            max_length=255,
            description="HOST:PORT of the grid manager.",
            examples=["grid.example.org:8444"],
        ),
    ]
    token: Annotated[
        Plain,
        Meta(max_length=255, description="That the grid manager's operator made for it."),
    ]
    name: RegionName


class FederationIn(In, frozen=True, kw_only=True):
    """From where an account may be asked for."""

    origins: Annotated[
        tuple[Name, ...],
        Meta(
            max_length=1000,
            description="Names of regions: users of the account with the same path there may act as this account here. "
            "None: nobody may, as it is without any word.",
        ),
    ] = ()
