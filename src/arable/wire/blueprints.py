"""How blueprints look outside: what the elements of a farm's tier are made of."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.balancers import CheckIn, CheckOut, ProtocolName
from arable.wire.common import Id, In, Name, NameOrId, Out, PageQuery
from arable.wire.machines import Mib, UserData
from arable.wire.rights import RightName
from arable.wire.rules import Port

VersionNumber = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[int, Meta(ge=0, le=86_400)]
_Wait = Annotated[int, Meta(ge=1, le=300)]
_Times = Annotated[int, Meta(ge=1, le=20)]
Few = Annotated[int, Meta(ge=0, le=100)]


class ElementCheckIn(CheckIn, frozen=True, kw_only=True):
    """How is seen that an element is well: more often than for other members, so that new ones serve soon."""

    interval: Annotated[_Wait, Meta(description="Seconds between checks.")] = 1
    timeout: Annotated[_Wait, Meta(description="Seconds that an answer may take.")] = 2
    rise: Annotated[_Times, Meta(description="Successes in a row that bring it back.")] = 1


class DiskPartIn(In, frozen=True, kw_only=True):
    """A disk of each element, besides the one that it boots from."""

    name: Annotated[Name, Meta(examples=["data"])]
    offering: Annotated[NameOrId, Meta(description="A disk offering.", examples=["any-size"])]
    mib: Annotated[
        Mib | None, Meta(description="Its size, where the disk offering leaves it to the customer.")
    ] = None


class PortPartIn(In, frozen=True, kw_only=True):
    """What elements answer at."""

    port: Port
    protocol: ProtocolName = "tcp"


class KeepsIn(In, frozen=True, kw_only=True):
    """What stays with an element when it gets another machine; its name always does."""

    address: bool = False
    volumes: Annotated[bool, Meta(description="All its `disks`.")] = False


Canary = (
    Annotated[int, Meta(ge=0, le=1000)]
    | Annotated[str, Meta(max_length=4, pattern=r"^([1-9][0-9]?%|100%|[0-9]{1,3})$(?!\n)")]
)


class UpdateIn(In, frozen=True, kw_only=True):
    """How elements are made anew when they are to be made of something else."""

    surge: Annotated[Few, Meta(description="So many more than there should be.")] = 1
    unavailable: Annotated[Few, Meta(description="So many fewer.")] = 0
    bake_seconds: Annotated[
        Seconds, Meta(description="For so long new ones have to serve before it goes on.")
    ] = 30
    errors_percent: Annotated[
        Few, Meta(description="So many more answers in a hundred than before may be errors.")
    ] = 1
    failures: Annotated[
        Few, Meta(description="So often new ones may fail; then all go back to what they were.")
    ] = 0
    canary: Annotated[
        Canary,
        Meta(
            description="So many new ones first, or this share of all: the rest follows when they have served well for "
            "`canary_seconds`. 0: all are treated alike.",
            examples=["10%"],
        ),
    ] = 0
    canary_seconds: Annotated[
        Seconds, Meta(description="For so long the canary has to serve before it goes on.")
    ] = 300


Control = Annotated[
    bool | tuple[RightName, ...],
    Meta(
        description="What programs in its elements may ask for, from inside: true is all of `read`, `scale` and `grow`."
    ),
]


class BlueprintVersionIn(In, frozen=True, kw_only=True):
    """What a version says, which never changes."""

    image: Annotated[NameOrId, Meta(examples=["tiny"])]
    offering: Annotated[NameOrId, Meta(examples=["small"])]
    user_data: Annotated[
        UserData,
        Meta(
            description=(
                "As for a machine; and words in double braces are filled in for each element: farm.name, zone.name, "
                "tier.name, element.name, element.number, tier.NAME.address, tier.NAME.port, secret.NAME."
            )
        ),
    ] = ""
    disks: Annotated[tuple[DiskPartIn, ...], Meta(max_length=7)] = ()
    reads: Annotated[
        tuple[Name, ...],
        Meta(
            max_length=6,
            description="Names of volumes that are shared read-only, of the farm's account and zone: each element has them, "
            "behind its `disks`.",
            examples=[["site"]],
        ),
    ] = ()
    ports: Annotated[tuple[PortPartIn, ...], Meta(max_length=8)] = ()
    check: Annotated[
        ElementCheckIn,
        Meta(
            description="How is seen that an element is well, at its first port; without ports it is while it runs."
        ),
    ] = ElementCheckIn()
    keeps: KeepsIn = KeepsIn()
    update: Annotated[
        UpdateIn | None,
        Meta(description="How elements are brought to another release."),
    ] = None
    control: Control = False
    ready_seconds: Annotated[
        Seconds | None,
        Meta(
            description="From its deployment until it serves, or it has failed; null: the cloud's."
        ),
    ] = None
    drain_seconds: Annotated[
        Seconds | None,
        Meta(description="So long sessions of one that leaves are waited for; null: the cloud's."),
    ] = None


class BlueprintIn(BlueprintVersionIn, frozen=True, kw_only=True):
    """A new blueprint, with its first version."""

    name: Name
    public: Annotated[bool, Meta(description="True: every account may use it. For operators.")] = (
        False
    )


class DiskPartOut(Out, frozen=True, kw_only=True):
    """A disk of each element."""

    name: str
    offering: str
    mib: int | None


class PortPartOut(Out, frozen=True, kw_only=True):
    """What elements answer at."""

    port: int
    protocol: str


class KeepsOut(Out, frozen=True, kw_only=True):
    """What stays with an element."""

    address: bool
    volumes: bool


class UpdateOut(Out, frozen=True, kw_only=True):
    """How elements are made anew."""

    surge: int
    unavailable: int
    bake_seconds: int
    errors_percent: int
    failures: int
    canary: Annotated[str, Meta(description="A number or a share; empty: none.")] = ""
    canary_seconds: int = 300


class BlueprintVersionOut(Out, frozen=True, kw_only=True):
    """A version; it never changes."""

    number: int
    image: Annotated[str, Meta(description="By id.")]
    offering: Annotated[str, Meta(description="By id.")]
    user_data: str
    disks: list[DiskPartOut]
    reads: list[str]
    ports: list[PortPartOut]
    check: CheckOut
    keeps: KeepsOut
    update: UpdateOut
    control: Annotated[
        list[str], Meta(description="What programs in its elements may ask for, from inside.")
    ]
    ready_seconds: int | None
    drain_seconds: int | None
    created_at: datetime


class BlueprintOut(Out, frozen=True, kw_only=True):
    """A blueprint."""

    id: Annotated[str, Meta(examples=["blueprint-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    name: str
    public: bool
    home: Annotated[
        str | None,
        Meta(
            description="The region with whose farms it came, and where it is made; null: it was made here."
        ),
    ] = None
    versions: Annotated[
        list[BlueprintVersionOut],
        Meta(description="Newest first; tiers get the first unless they say otherwise."),
    ]
    generation: int
    created_at: datetime


class BlueprintQuery(PageQuery, frozen=True, kw_only=True):
    """Which blueprints, among the caller's own and the public ones."""

    name: Name | None = None
    account: Id | None = None
    public: bool | None = None
