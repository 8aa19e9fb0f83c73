"""A storage pool: disks presented to hosts. It belongs to its host and goes with it; a shared one is for its pod."""

from dataclasses import dataclass
from datetime import datetime

from arable.domain.ids import HostId, PoolId, ZoneId

LOCAL = "local"
NBD = "nbd"  # shared: a host that runs machines reaches it at `address`, by the leases of docs/decisions/0007


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """As it is kept; `used_mib` is what its host last said."""

    id: PoolId
    zone: ZoneId
    host: HostId | None = None
    name: str
    kind: str = LOCAL
    address: str = ""
    total_mib: int = 0
    used_mib: int = 0
    generation: int = 1
    created_at: datetime
