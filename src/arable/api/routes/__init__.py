"""All operations, noun by noun. A noun that is not named here is not served: there is no scanning."""

from arable.api.operation import Op
from arable.api.routes import (
    hosts,
    images,
    offerings,
    pods,
    pools,
    public_ranges,
    settings,
    zones,
)

OPERATIONS: tuple[Op, ...] = (
    *zones.OPERATIONS,
    *pods.OPERATIONS,
    *public_ranges.OPERATIONS,
    *hosts.OPERATIONS,
    *pools.OPERATIONS,
    *settings.OPERATIONS,
    *offerings.OPERATIONS,
    *images.OPERATIONS,
)
