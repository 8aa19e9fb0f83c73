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
