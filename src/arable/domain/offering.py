"""What is for sale: units of virtual resources, for machines and for further disks."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import DiskOfferingId, OfferingId


class StorageKind(StrEnum):
    """Where disks are."""

    LOCAL = "local"  # on the machine's host; they stay there
    SHARED = "shared"  # on a storage host of the pod; any host of it can run the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """A machine's size. `cpu_mhz` is that of each CPU; limits of 0 mean none. Only hosts with all `tags` take it.

    A `highly_available` machine is started on another host when its own is lost, so its disks are shared.
    """

    id: OfferingId
    name: str
    cpus: int
    cpu_mhz: int
    memory_mib: int
    root_mib: int
    network_kbps: int = 0
    disk_iops: int = 0
    disk_bytes_per_second: int = 0
    tags: tuple[str, ...] = ()
    storage: StorageKind = StorageKind.LOCAL
    highly_available: bool = False
    replicated: bool = False  # its disks have a second copy on another storage host
    price_class: str = ""
    enabled: bool = True
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Offering":
        """The same offering with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskOffering:
    """A further disk's size and limits. `mib` 0: the customer says how large."""

    id: DiskOfferingId
    name: str
    mib: int = 0
    iops: int = 0
    bytes_per_second: int = 0
    tags: tuple[str, ...] = ()
    storage: StorageKind = StorageKind.LOCAL
    replicated: bool = False
    enabled: bool = True
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "DiskOffering":
        """The same disk offering with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)
