"""How volumes look outside: what one may ask for, and what is told of them."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Id, In, Name, NameOrId, Out, PageQuery
from arable.wire.machines import Mib
from arable.wire.offerings import BytesPerSecond, Iops

VolumeStateName = Literal[
    "available",
    "attaching",
    "attached",
    "resizing",
    "limiting",
    "detaching",
    "restoring",
    "copying",
    "migrating",
    "erasing",
]


ShareName = Literal["none", "read-only"]


class VolumeIn(In, frozen=True, kw_only=True):
    """A disk by itself, for machines that are there or will be."""

    name: Annotated[Name, Meta(description="Unique in account and zone among such volumes.")]
    offering: Annotated[
        NameOrId | None,
        Meta(
            description="A disk offering; may be left out while one only is for sale.",
            examples=["fast-disk"],
        ),
    ] = None
    mib: Annotated[
        Mib | None,
        Meta(
            description="Its size. Null: the disk offering's, if that has one, or that of the image."
        ),
    ] = None
    zone: Annotated[
        NameOrId | None, Meta(description="Where; may be left out while there is one zone only.")
    ] = None
    image: Annotated[
        NameOrId | None, Meta(description="What is on it at first; null: nothing, it is blank.")
    ] = None
    snapshot: Annotated[
        NameOrId | None,
        Meta(
            description="What is on it at first: a copy of a snapshot of a volume of the same kind, local or shared. "
            "It is where that volume is, and of the same size if none is said."
        ),
    ] = None
    version: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="Of the image; null: its newest one."),
    ] = None
    storage_zone: Annotated[
        NameOrId | None,
        Meta(
            description="Whose machines may have it: a storage zone, or a farm's. Null: that of the machine "
            "which has it first, or of the snapshot's volume."
        ),
    ] = None


class VolumeChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays."""

    name: Annotated[
        Name | UnsetType,
        Meta(description="Unique in account and zone among volumes that stand by themselves."),
    ] = UNSET
    storage_zone: Annotated[
        NameOrId | UnsetType | None,
        Meta(
            description="While no machine has it: whose machines may have it from then on, a storage zone or a farm's. "
            "Null: that of the machine which has it next."
        ),
    ] = UNSET
    share: Annotated[
        ShareName | UnsetType,
        Meta(
            description="`read-only`, while no machine has it: any number of machines may have it from then on, and "
            "none writes to it. `none`, when no machine has it any more: as it was."
        ),
    ] = UNSET


class AttachVolumeIn(In, frozen=True, kw_only=True):
    """Which machine should have the volume."""

    machine: Annotated[Id, Meta(description="Of the same account and zone, stopped or running.")]


class DetachVolumeIn(In, frozen=True, kw_only=True):
    """How to take the volume from its machine."""

    force: Annotated[
        bool,
        Meta(
            description="Don't wait for the machine's host: have the storage host cut it off now. "
            "What the guest has not written yet is lost. Only for shared volumes."
        ),
    ] = False
    machine: Annotated[
        Id | None, Meta(description="Of a volume that many machines read: from which of them.")
    ] = None


class ResizeVolumeIn(In, frozen=True, kw_only=True):
    """How large the volume should be."""

    mib: Annotated[Mib, Meta(description="Not less than it has: volumes only grow.")]


class MigrateVolumeIn(In, frozen=True, kw_only=True):
    """Where the volume should be kept."""

    pool: Annotated[
        NameOrId,
        Meta(
            description="A storage pool of its zone and kind, local or shared.", examples=["rack-4"]
        ),
    ]


class LimitVolumeIn(In, frozen=True, kw_only=True):
    """How fast the volume may be."""

    offering: Annotated[
        NameOrId | None,
        Meta(description="As fast as this disk offering's; of the volume's kind, local or shared."),
    ] = None
    iops: Annotated[
        Iops | None,
        Meta(description="Operators only. 0: no limit; null: the offering's, or as it is."),
    ] = None
    bytes_per_second: Annotated[
        BytesPerSecond | None,
        Meta(description="Operators only. 0: no limit; null: the offering's, or as it is."),
    ] = None


class VolumeOut(Out, frozen=True, kw_only=True):
    """A disk, of a machine or by itself."""

    id: str
    account: str
    zone: str
    state: VolumeStateName
    machine: Annotated[str | None, Meta(description="Whose it is, also while it is detaching.")]
    position: Annotated[int, Meta(description="0: the machine's root disk.")]
    name: str
    mib: int
    iops: Annotated[int, Meta(description="0: no limit.")]
    bytes_per_second: Annotated[int, Meta(description="0: no limit.")]
    shared: Annotated[bool, Meta(description="Whether other hosts can reach it, too.")]
    stays: Annotated[
        bool, Meta(description="Whether it is kept when its machine is erased; else it goes, too.")
    ]
    placed: Annotated[bool, Meta(description="Whether it is on a storage pool yet.")]
    pool: Annotated[
        str | None, Meta(description="Which one; only told to those who may see hosts.")
    ] = None
    replicated: Annotated[
        bool, Meta(description="Whether it has a second copy, from which it can be brought back.")
    ] = False
    replicated_at: Annotated[
        datetime | None,
        Meta(
            description="What was written until then is in the second copy, whole. Its snapshots are not in it."
        ),
    ] = None
    replica_pool: Annotated[
        str | None,
        Meta(description="Where the second copy is; only told to those who may see hosts."),
    ] = None
    replica_told: Annotated[
        str,
        Meta(
            description="Why it is behind, or there is none; only told to those who may see hosts."
        ),
    ] = ""
    share: Annotated[
        ShareName,
        Meta(description="`read-only`: many machines may have it, each by a view of its own."),
    ]
    view_of: Annotated[
        str | None, Meta(description="It is how its machine reads that volume, and goes with that.")
    ] = None
    storage_zone: Annotated[
        str | None,
        Meta(
            description="Whose machines may have it: of a farm, by the farm's id, or one that farms share."
            " Null: of whichever has it next."
        ),
    ]
    operation: Annotated[str | None, Meta(description="That waits for what is under way.")] = None
    told: Annotated[str, Meta(description="Why what is under way is not over yet.")] = ""
    copied_from: Annotated[
        str | None, Meta(description="The snapshot that it began as; that may be gone by now.")
    ] = None
    erasing: bool
    generation: int
    created_at: datetime


class VolumeQuery(PageQuery, frozen=True, kw_only=True):
    """Which volumes."""

    zone: Id | None = None
    machine: Id | None = None
    account: Id | None = None
    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
    view_of: Annotated[Id | None, Meta(description="Views of this one: who reads it.")] = None
    storage_zone: Annotated[
        Id | None,
        Meta(description="In this storage zone; a farm's own is called by the farm's id."),
    ] = None
