"""A second copy of a volume in another pool, which follows it point by point (docs/decisions/0051).

Two hosts are told of it by the same wish: the one that has the volume, and the one that keeps the replica. That one asks, the
other one says what changed since the point that is had already. What is had of a point is had whole or not at all.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from arable.domain.ids import HostId, PoolId, ReplicaId, VolumeId
from arable.domain.image_part import ImagePart


class ReplicaState(StrEnum):
    """What a replica is for."""

    FOLLOWING = "following"  # it takes point after point
    PROMOTED = "promoted"  # the volume is here from now on; where it was, nobody may have it
    ENDED = "ended"  # what is left is being erased


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaWish:
    """The `target` keeps a replica in `pool` of what the `source` has. With `promote` it is the volume itself from now on.

    `address` (HOST:PORT) is where the source answers other hosts; empty while that is not known. A point is taken every
    so many `seconds`. The replica takes no point of a volume that is larger than `bytes`.
    """

    replica: ReplicaId
    volume: VolumeId
    source: HostId | None
    target: HostId
    pool: PoolId  # the target's
    bytes: int
    seconds: int
    address: str = ""
    image: ImagePart | None = None
    bytes_per_second: int = 0  # on the network, at most; 0: no limit
    promote: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSeen:
    """How far the target is: the last whole `point` (0: none yet), taken `at` by its source's clock."""

    replica: ReplicaId
    volume: VolumeId
    point: int = 0
    at: datetime | None = None
    promoted: bool = False
    told: str = ""
