"""How hosts, and the tokens they join by, look outside."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Id, In, Name, NameOrId, Out, PageQuery, Tag

Role = Literal["compute", "storage", "routing"]
Roles = Annotated[tuple[Role, ...], Meta(min_length=1, max_length=3)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=16)]
HostStateName = Literal["joined", "up", "silent", "down", "asleep"]
Percent = Annotated[int, Meta(ge=10, le=10_000, description="Over-commit; 100 is none.")]


class JoinTokenIn(In, frozen=True, kw_only=True):
    """Lets one new host join its pod; or, with `host`, lets that one in anew, which keeps what it is and has."""

    pod: Annotated[
        NameOrId | None, Meta(description="Where a new host stands; its name or id.")
    ] = None
    host: Annotated[
        NameOrId | None,
        Meta(
            description=(
                "An existing host, by name or id, that lost its certificate or was off for longer than that lives."
                " Its pod, roles and tags stay, so none may be given."
            )
        ),
    ] = None
    roles: Annotated[Roles | None, Meta(description="What a new host is for; null: `compute`.")] = (
        None
    )
    tags: Tags = ()
    seconds: Annotated[
        Annotated[int, Meta(ge=1, le=86_400)] | None,
        Meta(description="How long it counts; null: as the setting `join_token_seconds` says."),
    ] = None


class JoinTokenOut(Out, frozen=True, kw_only=True):
    """A join token, without its text."""

    id: Annotated[str, Meta(examples=["jointoken-0mh5z1x2k3q8w7e6r5t4"])]
    pod: str
    roles: tuple[str, ...]
    tags: tuple[str, ...]
    expires_at: datetime
    used_at: datetime | None
    host: Annotated[str | None, Meta(description="Who joined by it, or who alone may.")]
    created_at: datetime


class NewJoinTokenOut(JoinTokenOut, frozen=True, kw_only=True):
    """A join token with its text, which is shown this once."""

    token: Annotated[
        str | None,
        Meta(
            description="For `arable agent join`. It works once, and also tells the host whom to trust."
        ),
    ]


class JoinTokenQuery(PageQuery, frozen=True, kw_only=True):
    """Which join tokens."""

    pod: Id | None = None


class CapacityOfHost(Out, frozen=True, kw_only=True):
    """Of one kind."""

    installed: Annotated[int, Meta(description="What the host has.")]
    percent: Annotated[int, Meta(description="Over-commit; 100 is none.")]
    total: Annotated[int, Meta(description="What can be reserved.")]
    reserved: int


class HostOut(Out, frozen=True, kw_only=True):
    """A host."""

    id: Annotated[str, Meta(examples=["host-0mh5z1x2k3q8w7e6r5t4"])]
    name: str
    zone: str
    pod: str
    state: HostStateName
    told: Annotated[str, Meta(description="Why it is silent, down or asleep.")]
    powered_off: Annotated[
        bool, Meta(description="It was seen without power, and is kept so until it is powered on.")
    ]
    maintenance: Annotated[
        bool, Meta(description="True: nothing new is placed there, and what can leaves it.")
    ]
    maintenance_stops: Annotated[
        bool,
        Meta(
            description="True: machines that can't leave are stopped, and start again when the maintenance is over."
        ),
    ]
    roles: tuple[str, ...]
    tags: tuple[str, ...]
    facts: Annotated[
        dict[str, Any],
        Meta(
            description=(
                "What its agent told: drivers, version. `short`: how much less it has than is reserved on it."
                " `unshared`: why its disks are not shared with other hosts, though its agent offers them."
            )
        ),
    ]
    pool: Annotated[str | None, Meta(description="Its local storage pool.")]
    machines: int
    cpus: Annotated[int, Meta(description="Cores that the host has.")]
    cpu_mhz: CapacityOfHost
    memory_mib: CapacityOfHost
    disk_mib: CapacityOfHost
    server: Annotated[
        str, Meta(description="The management server with its channel; empty: none has it.")
    ]
    seen_at: datetime | None
    generation: int
    created_at: datetime


class SignalOut(Out, frozen=True, kw_only=True):
    """What somebody says of a host."""

    by: Annotated[str, Meta(description="The host that says it; `management`: the servers.")]
    name: Annotated[str, Meta(description="Its name.")]
    kind: Annotated[
        Literal["agent", "peer", "storage"],
        Meta(description="How it knows: it hears the agent, asks as a peer, or gives out leases."),
    ]
    sees: Annotated[bool, Meta(description="Whether it sees the host.")]
    since: Annotated[
        datetime | None, Meta(description="Since when it does or does not; null: not known.")
    ]


PowerName = Literal["on", "off", "changing"]


class BmcOut(Out, frozen=True, kw_only=True):
    """By what a host's power is switched, without the password."""

    driver: Literal["redfish"]
    url: str
    user: str
    believed_by: Annotated[
        Literal["system", "authority", "fingerprint"],
        Meta(description="Whom to believe that it is the BMC: see `BmcIn`."),
    ]
    fingerprint: str
    wanted: Annotated[
        Literal["on", "off"] | None, Meta(description="What is being done; null: nothing.")
    ]
    fencing: Annotated[bool, Meta(description="It is wanted because the host is down.")]
    seen: Annotated[PowerName | None, Meta(description="How it was seen last.")]
    seen_at: datetime | None
    tries: Annotated[int, Meta(description="How often it failed since it was wanted.")]
    told: Annotated[str, Meta(description="What went wrong last.")]


class StayingOut(Out, frozen=True, kw_only=True):
    """A machine that is on a host in maintenance."""

    machine: str
    name: str
    leaves: Annotated[bool, Meta(description="It moves, or is about to.")]
    told: Annotated[str, Meta(description="How far that is, or why it stays.")]


class HostDetailOut(HostOut, frozen=True, kw_only=True):
    """A host, and who sees it."""

    staying: Annotated[
        tuple[StayingOut, ...],
        Meta(description="In maintenance: the machines that are still there."),
    ]
    signals: tuple[SignalOut, ...]
    bmc: BmcOut | None
    routers_memory_mib: Annotated[
        int,
        Meta(description="Of the memory that is reserved, what routers that are machines take."),
    ] = 0


class BmcIn(In, frozen=True, kw_only=True):
    """By what a host's power is switched. Of `authority` and `fingerprint`, at most one."""

    url: Annotated[
        str,
        Meta(
            max_length=500,
            pattern=r"^https://[!-~]+$(?!\n)",
            description="`https://…`, with the path of a system where there are several.",
            examples=["https://10.9.0.11", "https://10.9.0.2/redfish/v1/Systems/437XR1138R2"],
        ),
    ]
    user: Annotated[str, Meta(max_length=255, pattern=r"^[!-9;-~]+$(?!\n)")]
    password: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=255,
            pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)",
            description="Kept encrypted, and never shown.",
        ),
    ]
    authority: (
        Annotated[
            str,
            Meta(
                max_length=16_384,
                description="The authority of its certificate (PEM); left out: those that management servers trust.",
            ),
        ]
        | None
    ) = None
    fingerprint: (
        Annotated[
            str,
            Meta(
                pattern=r"^([0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31})$(?!\n)",
                description="SHA-256 of its certificate, instead of any authority.",
            ),
        ]
        | None
    ) = None


class PowerIn(In, frozen=True, kw_only=True):
    """How a host's power should be."""

    power: Literal["on", "off"]


class HostChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays."""

    maintenance: bool | UnsetType = UNSET
    maintenance_stops: Annotated[
        bool | UnsetType,
        Meta(
            description=(
                "Stop what can't leave while it runs. It starts again when the maintenance is over, unless its owner"
                " stopped it as well. Farms get other elements for theirs."
            )
        ),
    ] = UNSET
    cpu_percent: Percent | UnsetType = UNSET
    memory_percent: Percent | UnsetType = UNSET
    disk_percent: Percent | UnsetType = UNSET
    roles: Roles | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET


class HostQuery(PageQuery, frozen=True, kw_only=True):
    """Which hosts."""

    zone: Id | None = None
    pod: Id | None = None
    name: Name | None = None
    state: Annotated[tuple[HostStateName, ...], Meta(max_length=5)] = ()
    maintenance: bool | None = None
