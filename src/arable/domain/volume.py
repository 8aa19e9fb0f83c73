"""A volume: one virtual disk. With a machine from its making to its end, or made by itself and lent to machines."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import (
    AccountId,
    MachineId,
    OperationId,
    PoolId,
    ReplicaId,
    SnapshotId,
    StorageZoneId,
    VolumeId,
    ZoneId,
)
from arable.domain.machine import MachineState
from arable.domain.manifest import ImagePart

MOST_OF_A_MACHINE = 7
"""Disks: a hypervisor gives a guest eight places, and one is for its cloud-init data."""


class Change(StrEnum):
    """What is under way between a volume and its machine, which stays the volume's machine until it is over."""

    NONE = ""
    ATTACH = "attach"  # plugged into the guest that runs
    DETACH = "detach"  # the guest is to let go of it
    CUT = "cut"  # the guest has let go; its storage host is to serve it to that host no more
    RESIZE = "resize"  # the guest that runs is to see that it has grown
    LIMIT = "limit"  # it is to be as fast as is wished now, where that is seen to
    COPY = "copy"  # it is being made of a snapshot
    MIGRATE = "migrate"  # it is carried to another pool: nothing runs with it, or all of its machine's disks are
    RESTORE = "restore"  # it is set back to one of its snapshots; nothing runs with it


LEAVING = (Change.DETACH, Change.CUT)
"""Changes of volumes that their machines' guests are not to have."""


SURELY_MADE = -1
"""Of a volume that was in a machine, and is in none or in another one."""


def is_made(made: int, generation: int) -> bool:
    """Whether whoever is told of a volume, in that generation of its machine, is told that it is there already.

    `made` is the generation that was told when the machine was first seen running with it. What was told then is not
    said anew: it would differ by nothing but this.
    """
    return made != 0 and made < generation


class VolumeState(StrEnum):
    """How a volume stands, as its owner sees it."""

    AVAILABLE = "available"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    RESIZING = "resizing"
    LIMITING = "limiting"
    DETACHING = "detaching"
    RESTORING = "restoring"
    COPYING = "copying"
    MIGRATING = "migrating"
    ERASING = "erasing"


OFF = (MachineState.STOPPED, MachineState.ERROR, MachineState.DESTROYED)
"""States of machines of which nothing runs anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A disk (`position` 0: a machine's root disk). `pool` is set when it is first placed; limits of 0 mean none.

    One that `stays` is not erased with its machine: it was made by itself, or its owner detached it once.
    """

    id: VolumeId
    account: AccountId
    zone: ZoneId
    machine: MachineId | None
    pool: PoolId | None = None
    position: int = 0
    name: str = ""
    mib: int
    iops: int = 0
    bytes_per_second: int = 0
    source: ImagePart | None = None
    shared: bool = False  # wants a pool that several hosts reach
    stays: bool = False
    tags: tuple[str, ...] = ()  # that the host on which it is first placed must have
    change: Change = Change.NONE
    operation: OperationId | None = None  # that waits for the change, or for its being erased
    told: str = ""  # why the change is not over yet
    erasing: bool = False
    copied_from: SnapshotId | None = None
    offering: str = ""  # the disk offering by which it is paid for; root disks have none
    storage_zone: StorageZoneId | None = None  # none: that of the machine that has it first
    read_only: bool = False  # many machines may have it at once, by views, and none writes to it
    view_of: "VolumeId | None" = (
        None  # a machine's view of one that is read-only: a disk, and no data of its own
    )
    replicated: bool = False  # a second pool is to have a copy
    replica: ReplicaId | None = None  # which one it has
    zoned: int = 0  # when that was said last (µs since 1970): hosts heed the later of two words
    generation: int = 1
    created_at: datetime

    @property
    def state(self) -> VolumeState:
        """In one word."""
        if self.erasing:
            return VolumeState.ERASING
        if self.change is Change.ATTACH:
            return VolumeState.ATTACHING
        if self.change is Change.RESIZE:
            return VolumeState.RESIZING
        if self.change is Change.LIMIT:
            return VolumeState.LIMITING
        if self.change is Change.RESTORE:
            return VolumeState.RESTORING
        if self.change is Change.COPY:
            return VolumeState.COPYING
        if self.change is Change.MIGRATE:
            return VolumeState.MIGRATING
        if self.change is not Change.NONE:
            return VolumeState.DETACHING
        return VolumeState.AVAILABLE if self.machine is None else VolumeState.ATTACHED

    def changed(self, **but: Any) -> "Volume":
        """The same volume with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)

    def within(self, storage_zone: StorageZoneId | None, micros: int, **but: Any) -> "Volume":
        """The same volume in that storage zone, said now (µs since 1970), and later than what was said before."""
        if storage_zone == self.storage_zone:
            return self.changed(**but)
        return self.changed(storage_zone=storage_zone, zoned=max(micros, self.zoned + 1), **but)

    def let_go(self, operation: OperationId | None = None) -> "Volume":
        """A view that is no machine's any more: it goes."""
        return self.changed(
            machine=None, position=0, change=Change.NONE, operation=operation, told="", erasing=True
        )

    def alone(self) -> "Volume":
        """Of no machine any more; what is on it stays."""
        return self.changed(
            machine=None, position=0, stays=True, change=Change.NONE, operation=None, told=""
        )
