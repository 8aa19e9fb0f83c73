"""Storage pools over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import pools
from arable.wire.pools import PoolQuery

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
)
