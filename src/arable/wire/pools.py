"""How storage pools look outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Id, In, Out, PageQuery
from arable.wire.hosts import Percent

FillName = Literal["ok", "warning", "critical", "full"]


class PoolOut(Out, frozen=True, kw_only=True):
    """A storage pool."""

    id: Annotated[str, Meta(examples=["pool-0mh5z1x2k3q8w7e6r5t4"])]
    name: str
    kind: Annotated[
        str,
        Meta(
            description=(
                "`local`: disks of one host. `nbd`, `iscsi`: shared with the other hosts of its pod. `file`: shared"
                " with those that have its directory mounted."
            )
        ),
    ]
    zone: str
    host: str | None
    address: Annotated[
        str, Meta(description="Of a shared one: where hosts ask for the leases of its disks.")
    ]
    total_mib: Annotated[int, Meta(description="As its host last measured.")]
    used_mib: Annotated[
        int,
        Meta(
            description="As its host last measured: what disks, images and all else on that file system take."
        ),
    ]
    used_percent: int
    images: Annotated[
        int, Meta(description="Files of image versions that are kept there, in use or not.")
    ]
    image_mib: Annotated[int, Meta(description="What these take, of what is in use.")]
    fill: Annotated[
        FillName,
        Meta(
            description=(
                "By the settings `alert_pool_percent`, `alert_pool_critical_percent` and `pool_full_percent`."
            )
        ),
    ]
    takes_disks: Annotated[
        bool,
        Meta(
            description=(
                "Whether it gets further disks. A full one does not, until a little less than"
                " `pool_full_percent` is in use."
            )
        ),
    ]
    percent: Annotated[
        int,
        Meta(
            description=(
                "Over-provisioning: so much of its host's disk may be promised, in percent; 100 is none."
                " It is its host's disk over-commit."
            )
        ),
    ]
    reservable_mib: Annotated[int, Meta(description="What may be promised to disks in all.")]
    allocated_mib: Annotated[
        int, Meta(description="What is promised to disks, as large as their guests see them.")
    ]
    generation: int
    created_at: datetime


class PoolChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays."""

    percent: Percent | UnsetType = UNSET


class PoolQuery(PageQuery, frozen=True, kw_only=True):
    """Which pools."""

    zone: Id | None = None
    host: Id | None = None


class FailOverIn(In, frozen=True, kw_only=True):
    """Bring back what has a replica elsewhere."""

    without_power: Annotated[
        bool,
        Meta(
            description=(
                "You have made sure that the pool's host has no power, and nobody will give it any before this is done."
                " Needed where that can't be seen; untrue, two machines may write to two copies of a volume."
            )
        ),
    ] = False


class FailOverStaysOut(Out, frozen=True, kw_only=True):
    """What can't be brought back."""

    machine: str | None
    volumes: tuple[str, ...]
    why: str


class FailOverPlanOut(Out, frozen=True, kw_only=True):
    """What would become of a pool's replicated volumes if its host were lost now."""

    pool: str
    waits: Annotated[
        str, Meta(description="Why it does not happen by itself now; empty: it does, or has.")
    ]
    machines: Annotated[int, Meta(description="Whose disks would be brought back.")]
    volumes: Annotated[int, Meta(description="These disks, and volumes that no machine has.")]
    oldest_at: Annotated[
        datetime | None,
        Meta(
            description="Of the last whole points of these the oldest: what was written since would be lost."
        ),
    ]
    left: Annotated[int, Meta(description="Machines and single volumes that would not be.")]
    stays: Annotated[tuple[FailOverStaysOut, ...], Meta(description="The first hundred of these.")]
