"""How hosts, and the tokens they join by, look outside."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Id, In, Name, NameOrId, Out, PageQuery, Tag

Role = Literal["compute", "storage", "routing"]
Roles = Annotated[tuple[Role, ...], Meta(min_length=1, max_length=3)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=16)]
HostStateName = Literal["joined", "up", "silent"]
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
    maintenance: Annotated[bool, Meta(description="True: nothing new is placed there.")]
    roles: tuple[str, ...]
    tags: tuple[str, ...]
    facts: Annotated[
        dict[str, Any],
        Meta(
            description=(
                "What its agent told: drivers, version. `short`: how much less it has than is reserved on it."
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


class HostChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays."""

    maintenance: bool | UnsetType = UNSET
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
    state: Annotated[tuple[HostStateName, ...], Meta(max_length=3)] = ()
    maintenance: bool | None = None
