"""A volume on its way to another pool, while nobody has it (docs/decisions/0041).

Two hosts are told of it by the same wish: the one that has the volume lets the other one read it, and that one has it when
it has read all, and compared it. Neither erases anything by this.
"""

from dataclasses import dataclass

from arable.domain.ids import HostId, OperationId, PoolId, VolumeId
from arable.domain.image_part import ImagePart


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryWish:
    """What an operation waits for. The `source` has the volume, the `target` is to have it in its `pool`.

    `address` (HOST:PORT) is where the source answers other hosts; empty while that is not known. The volume stands over
    `image`, if over any, which the target has to have as well.
    """

    operation: OperationId
    volume: VolumeId
    source: HostId
    target: HostId
    pool: PoolId  # the target's
    bytes: int  # that the volume has, to a guest
    address: str = ""
    image: ImagePart | None = None
    bytes_per_second: int = 0  # on the network, at most; 0: no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrySeen:
    """How far the target is with a `CarryWish`."""

    operation: OperationId
    done: bool
    told: str = ""
    tries: int = 0  # failed attempts in a row
    copied_bytes: int = 0
    stranger: bool = False  # there is such a volume, and not by this operation: it is left alone
