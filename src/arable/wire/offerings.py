"""How offerings and disk offerings look outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import In, Name, Out, PageQuery, Plain, Tag

Tags = Annotated[
    tuple[Tag, ...], Meta(max_length=16, description="Only hosts with all of these take it.")
]
PriceClass = Annotated[
    Plain, Meta(max_length=63, description="What it costs is a matter of its class.")
]
Kbps = Annotated[
    int,
    Meta(ge=0, le=400_000_000, description="In each direction; 0: no limit.", examples=[100_000]),
]
Iops = Annotated[int, Meta(ge=0, le=10_000_000, description="0: no limit.")]
BytesPerSecond = Annotated[int, Meta(ge=0, le=1 << 40, description="0: no limit.")]
StorageName = Literal["local", "shared"]
Storage = Annotated[
    StorageName,
    Meta(
        description="`local`: on the machine's own host. `shared`: on a storage host of its pod, so that another host"
        " can run it. All disks of a machine are of one kind."
    ),
]
HighlyAvailable = Annotated[
    bool,
    Meta(description="Started on another host when its own is lost; needs `shared` storage."),
]
Replicated = Annotated[
    bool,
    Meta(
        description="Has a second copy in a pool on another storage host, some minutes behind, from which it is brought back"
        " when the first one is lost; needs `shared` storage."
    ),
]
Enabled = Annotated[bool, Meta(description="False: nothing new is made of it.")]


class OfferingIn(In, frozen=True, kw_only=True):
    """A size of machines."""

    name: Name
    cpus: Annotated[int, Meta(ge=1, le=512, examples=[2])]
    cpu_mhz: Annotated[int, Meta(ge=100, le=10_000, description="Of each CPU.", examples=[2000])]
    memory_mib: Annotated[int, Meta(ge=16, le=1 << 24, examples=[4096])]
    root_mib: Annotated[
        int, Meta(ge=1, le=1 << 26, description="The first disk, at least.", examples=[20480])
    ]
    network_kbps: Kbps = 0
    disk_iops: Iops = 0
    disk_bytes_per_second: BytesPerSecond = 0
    tags: Tags = ()
    storage: Storage = "local"
    highly_available: HighlyAvailable = False
    replicated: Replicated = False
    price_class: PriceClass = ""


class OfferingOut(Out, frozen=True, kw_only=True):
    """A size of machines."""

    id: Annotated[str, Meta(examples=["offering-0mh5z1x2k3q8w7e6r5t4"])]
    name: str
    cpus: int
    cpu_mhz: int
    memory_mib: int
    root_mib: int
    network_kbps: int
    disk_iops: int
    disk_bytes_per_second: int
    tags: tuple[str, ...]
    storage: StorageName
    highly_available: bool
    replicated: bool
    price_class: str
    enabled: bool
    generation: int
    created_at: datetime


class OfferingChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays: machines took the sizes over when they were made."""

    name: Name | UnsetType = UNSET
    enabled: Enabled | UnsetType = UNSET
    price_class: PriceClass | UnsetType = UNSET


class DiskOfferingIn(In, frozen=True, kw_only=True):
    """A kind of further disks."""

    name: Name
    mib: Annotated[
        int, Meta(ge=0, le=1 << 26, description="0: the customer says how large.", examples=[10240])
    ] = 0
    iops: Iops = 0
    bytes_per_second: BytesPerSecond = 0
    tags: Tags = ()
    storage: Storage = "local"
    replicated: Replicated = False


class DiskOfferingOut(Out, frozen=True, kw_only=True):
    """A kind of further disks."""

    id: Annotated[str, Meta(examples=["diskoffering-0mh5z1x2k3q8w7e6r5t4"])]
    name: str
    mib: int
    iops: int
    bytes_per_second: int
    tags: tuple[str, ...]
    storage: StorageName
    replicated: bool
    enabled: bool
    generation: int
    created_at: datetime


class DiskOfferingChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays."""

    name: Name | UnsetType = UNSET
    enabled: Enabled | UnsetType = UNSET


class OfferingQuery(PageQuery, frozen=True, kw_only=True):
    """Which offerings. Disabled ones are shown to those who may write the catalogue."""

    name: Name | None = None
    enabled: bool | None = None
