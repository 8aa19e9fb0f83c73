"""What is on a shared volume of a farm's home, for elements in other regions (docs/decisions/0052)."""

from dataclasses import dataclass
from datetime import datetime

from arable.domain.ids import AccountId, FarmId, ImageId, OperationId, SnapshotId, VolumeId


@dataclass(frozen=True, slots=True, kw_only=True)
class SentVolume:
    """A volume of this region that parts of farms in others read, and how far a copy of it is.

    `shares` counts how often it was shared: what is on it is another thing each time. `taken` is as of which the
    snapshot is, `made` as of which version `number` of the image is; 0: there is none.
    """

    volume: VolumeId
    account: AccountId
    shares: int = 1
    taken: int = 0
    made: int = 0
    image: ImageId | None = None
    number: int = 0
    snapshot: SnapshotId | None = None  # while a version is being made
    operation: OperationId | None = None  # that waits for the version
    told: str = ""  # why there is none yet
    tries: int = 0  # in vain, in a row
    due_at: datetime | None = None  # none: nothing is to be done


@dataclass(frozen=True, slots=True, kw_only=True)
class CameVolume:
    """A volume of a farm's home, as its part here reads it: by version `number` of an image, once that is here.

    Until then elements read version `before`, which was here when the newer one was told of.
    """

    farm: FarmId
    name: str  # NAME@REGION
    image: ImageId | None = None  # none: home has no copy of it yet
    number: int = 0
    before: int = 0
    told: str = ""  # what home says of one that it has no copy of
