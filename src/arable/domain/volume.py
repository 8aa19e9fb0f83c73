"""A volume: one virtual disk."""

from dataclasses import dataclass
from datetime import datetime

from arable.domain.ids import AccountId, MachineId, PoolId, VolumeId, ZoneId
from arable.domain.manifest import ImagePart


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A disk of a machine (`position` 0: its root disk). `pool` is set when it is first placed; limits of 0 mean none."""

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
    erasing: bool = False
    generation: int = 1
    created_at: datetime
