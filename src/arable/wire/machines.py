"""How machines look outside: what one may ask for, and what is told of them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import (
    Address,
    DrainSeconds,
    Id,
    In,
    Line,
    Name,
    NameOrId,
    NamePrefix,
    Out,
    PageQuery,
    Tag,
)
from arable.wire.nics import NicOut
from arable.wire.operations import OperationOut

MachineStateName = Literal[
    "waiting",
    "starting",
    "running",
    "stopping",
    "stopped",
    "error",
    "destroyed",
    "expunging",
]
WishName = Literal["running", "stopped", "destroyed", "gone"]
StrategyName = Annotated[
    Literal["spread", "pack"],
    Meta(description="Prefer the host with most room left, or the one with least."),
]
SshKey = Annotated[
    str,
    Meta(
        max_length=8192,
        pattern=(
            r"^((ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]{1,60}) "
            r"[A-Za-z0-9+/]{16,8000}={0,3}( [^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,255})?"
            r"|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$(?!\n)"
        ),
        description="The name or id of an SSH key of the account, or a public key as `ssh-keygen` writes it, one line.",
        examples=[
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0cV0Hq3o2vDyX0gGk2uVtC0oS9aQ8lq0nWlT5Wb1cK me"
        ],
    ),
]
UserData = Annotated[
    str,
    Meta(
        max_length=16_384,
        pattern=r"^[^\x00]*$",
        description=(
            "For cloud-init: a `#cloud-config`, a `#!` script, or what else it knows; at most 16 KiB "
            "of UTF-8, as EC2 has it. Base64 of gzip is unpacked first, and held to the same limit. Host name and SSH keys need not be in it."
        ),
        examples=["#!/bin/sh\necho hello > /etc/motd\n"],
    ),
]
Mib = Annotated[int, Meta(ge=1, le=1 << 26, description="In MiB.", examples=[10240])]


class NicIn(In, frozen=True, kw_only=True):
    """A port of the new machine."""

    network: Annotated[
        NameOrId | None,
        Meta(
            description="Of the same account and zone; null: the default network, made on first use."
        ),
    ] = None
    address: Annotated[
        Address | None, Meta(description="An address of the network that is free; null: any.")
    ] = None
    default: Annotated[
        bool,
        Meta(
            description=(
                "By this port the machine finds its way out: its network names the router and the resolver. "
                "The first one, if none is said to be."
            )
        ),
    ] = False


class DiskIn(In, frozen=True, kw_only=True):
    """A further, blank disk of the new machine."""

    offering: Annotated[NameOrId, Meta(description="A disk offering.", examples=["fast-disk"])]
    mib: Annotated[
        Mib | None, Meta(description="Its size, where the disk offering leaves it to the customer.")
    ] = None


class DeployIn(In, frozen=True, kw_only=True):
    """One machine, or many alike."""

    name: Annotated[
        Name,
        Meta(
            description="With `count` above 1 the machines are called `name-1`, `name-2` and so on."
        ),
    ]
    count: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="How many. Names, limits and addresses are taken for all of them or for none.",
        ),
    ] = 1
    zone: Annotated[
        NameOrId | None, Meta(description="Where; may be left out while there is one zone only.")
    ] = None
    offering: Annotated[NameOrId, Meta(examples=["small"])]
    image: Annotated[NameOrId, Meta(examples=["tiny"])]
    version: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="Of the image; null: its newest one."),
    ] = None
    networks: Annotated[
        tuple[NicIn, ...],
        Meta(
            max_length=8, description="One port for each; none given: one on the default network."
        ),
    ] = ()
    disks: Annotated[tuple[DiskIn, ...], Meta(max_length=8)] = ()
    ssh_keys: Annotated[
        tuple[SshKey, ...],
        Meta(max_length=32, description="Who may log in to the image's default user."),
    ] = ()
    user_data: UserData = ""
    password: Annotated[
        bool,
        Meta(
            description=(
                "Generate a password for the image's default user: shown once, in the answer to this call. "
                "The machine gets its hash."
            )
        ),
    ] = False
    tags: Annotated[
        tuple[Tag, ...], Meta(max_length=16, description="Tags that the host must carry.")
    ] = ()
    group: Annotated[NameOrId | None, Meta(description="A placement group to be a member of.")] = (
        None
    )
    strategy: Annotated[
        StrategyName | None,
        Meta(description="Null: what the cloud prefers (setting `placement_strategy`)."),
    ] = None
    start: Annotated[bool, Meta(description="False: keep them stopped.")] = True
    farm: Annotated[
        NameOrId | None,
        Meta(
            description="Null: that of its networks; on the default network the account's default farm, made on first use."
        ),
    ] = None


class DeployedOut(Out, frozen=True, kw_only=True):
    """A machine that will be."""

    id: Annotated[str, Meta(examples=["machine-0mh5z1x2k3q8w7e6r5t4"])]
    name: str


class DeployOut(Out, frozen=True, kw_only=True):
    """Accepted: all of it is kept, and the machines start as soon as they have hosts."""

    operation: Annotated[str, Meta(description="Done when all of them run.")]
    machines: list[DeployedOut]
    passwords: Annotated[
        dict[str, str] | None,
        Meta(description="Generated passwords by machine id: here and now, and never again."),
    ] = None


class MachineOut(Out, frozen=True, kw_only=True):
    """A machine. `state` is how far the cloud has come, `wish` what its owner wants in the end."""

    id: str
    name: str
    account: str
    zone: str
    farm: str
    state: MachineStateName
    wish: WishName
    offering: str
    cpus: int
    cpu_mhz: Annotated[int, Meta(description="Of all CPUs together.")]
    memory_mib: int
    disk_mib: Annotated[int, Meta(description="Of all its disks together.")]
    network_kbps: Annotated[
        int,
        Meta(
            description=(
                "What each of its ports sends, and receives, at most: the smallest of what its offering, its "
                "account and the cloud allow; 0: no limit."
            )
        ),
    ]
    network_kbps_by: Annotated[
        Literal["offering", "account", "cloud"] | None,
        Meta(description="Whose limit that is; null: there is none."),
    ]
    disk_iops: Annotated[int, Meta(description="Of its root disk; 0: no limit.")]
    disk_bytes_per_second: int
    highly_available: Annotated[
        bool, Meta(description="Started on another host when its own is lost.")
    ]
    image: str | None
    image_version: int | None
    tags: list[str]
    strategy: StrategyName
    nics: list[NicOut]
    groups: Annotated[list[str], Meta(description="The placement groups that it is a member of.")]
    operation: Annotated[str | None, Meta(description="What is under way with it.")]
    host: Annotated[
        str | None, Meta(description="Where it is; only told to those who may see hosts.")
    ] = None
    destroyed_at: Annotated[
        datetime | None, Meta(description="From then on it can be recovered for a limited time.")
    ]
    generation: int
    created_at: datetime
    changed_at: datetime


class MachineQuery(PageQuery, frozen=True, kw_only=True):
    """Which machines."""

    zone: Id | None = None
    state: Annotated[tuple[MachineStateName, ...], Meta(max_length=8)] = ()
    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
    prefix: Annotated[NamePrefix | None, Meta(description="Names that begin so.")] = None
    network: Id | None = None
    farm: Id | None = None
    group: Id | None = None
    account: Id | None = None
    host: Annotated[Id | None, Meta(description="For those who may see hosts.")] = None


class StopIn(In, frozen=True, kw_only=True):
    """How to stop."""

    force: Annotated[bool, Meta(description="Pull the plug instead of asking the guest.")] = False
    drain_seconds: DrainSeconds = None


class DestroyIn(In, frozen=True, kw_only=True):
    """How to destroy."""

    force: Annotated[bool, Meta(description="Pull the plug instead of asking the guest.")] = False
    expunge: Annotated[
        bool, Meta(description="Erase its disks as soon as it is off: nothing can be recovered.")
    ] = False


class RecoverIn(In, frozen=True, kw_only=True):
    """How to come back."""

    name: Annotated[
        Name | None, Meta(description="Another name, when the old one is taken by now.")
    ] = None


class ResizeIn(In, frozen=True, kw_only=True):
    """Which size."""

    offering: NameOrId


GivenPassword = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=128,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$(?!\n)",
        description="Of 8 to 128 characters, without control characters.",
        examples=["correct horse battery staple"],
    ),
]


class PasswordResetIn(In, frozen=True, kw_only=True):
    """Whose password, and which."""

    user: Annotated[
        str,
        Meta(
            max_length=32,
            pattern=r"^[a-z_][a-z0-9_-]{0,31}$(?!\n)",
            description="A user within the machine.",
            examples=["root"],
        ),
    ] = "root"
    password: Annotated[
        GivenPassword | None, Meta(description="Null: one is generated, and told once.")
    ] = None


class PasswordResetOut(Out, frozen=True, kw_only=True):
    """Accepted. Only a hash of it is kept, until the machine has it."""

    operation: Annotated[
        str,
        Meta(
            description="Done when the machine has its password; at once for one that is off, which gets it when it runs."
        ),
    ]
    password: Annotated[
        str | None, Meta(description="One that was generated: here and now, and never again.")
    ] = None


class MoveIn(In, frozen=True, kw_only=True):
    """To where."""

    to: Annotated[
        NameOrId | None, Meta(description="The host, by name or id; null: one is chosen.")
    ] = None


class MachineChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays. User-data can be changed while the machine is stopped."""

    name: Name | UnsetType = UNSET
    user_data: UserData | UnsetType = UNSET
    tags: Annotated[tuple[Tag, ...], Meta(max_length=16)] | UnsetType = UNSET
    strategy: StrategyName | UnsetType = UNSET


class UsageOut(Out, frozen=True, kw_only=True):
    """What a machine uses, as its host reported it last: counters since the guest's start."""

    machine: str
    at: Annotated[datetime, Meta(description="When its host counted.")]
    cpu_seconds: Annotated[float, Meta(description="Of all its CPUs together.")]
    memory_mib: Annotated[int, Meta(description="What it holds now.")]
    received_bytes: int
    sent_bytes: int
    read_bytes: int
    written_bytes: int
    read_ops: int
    written_ops: int


class ExplainOut(Out, frozen=True, kw_only=True):
    """Why a machine is as it is."""

    machine: str
    name: str
    state: MachineStateName
    wish: WishName
    says: Annotated[
        list[Line],
        Meta(
            description="In sentences: what it is, what it waits for, why it is there or nowhere.",
            examples=[["is waiting for a host"]],
        ),
    ]
    why: Annotated[
        Any,
        Meta(
            description=(
                "Of the last placement, refusal or failure: how many hosts fell to which rule, and for those "
                "who may see hosts, which."
            )
        ),
    ]
    operation: Annotated[
        OperationOut | None,
        Meta(description="What is under way with it, with its steps and causes."),
    ]
