"""A storage pool: disks presented to hosts. A local one belongs to its host and goes with it."""

from dataclasses import dataclass
from datetime import datetime

from arable.domain.ids import HostId, PoolId, ZoneId

LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """As it is kept; `used_mib` is what its host last said."""

    id: PoolId
    zone: ZoneId
    host: HostId | None = None
    name: str
    kind: str = LOCAL
    total_mib: int = 0
    used_mib: int = 0
    generation: int = 1
    created_at: datetime
