"""Storage pools over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import pools
from arable.wire.pools import PoolChange, PoolQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/pools",
        does=pools.page,
        permission=Permission.INFRA_READ,
        writes=False,
        query=PoolQuery,
        summary="List storage pools",
    ),
    Op(
        method="GET",
        path="/v1/pools/{pool}",
        does=pools.get,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show a storage pool",
    ),
    Op(
        method="PATCH",
        path="/v1/pools/{pool}",
        does=pools.update,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=PoolChange,
        summary="Change how much of a storage pool may be promised",
        example={"percent": 150},
    ),
)
