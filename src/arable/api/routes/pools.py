"""Storage pools over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import failing_over, pool_plans, pools
from arable.wire.pool_plans import PoolPlanQuery
from arable.wire.pools import FailOverIn, PoolChange, PoolQuery

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
    Op(
        method="GET",
        path="/v1/pools/{pool}/fail-over",
        does=failing_over.plan,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show what of a storage pool could be brought back from replicas",
        about="Volumes of offerings that are `replicated`, as of the last whole point of each. Nothing is done.",
        name="pools.fail_over_plan",
    ),
    Op(
        method="POST",
        path="/v1/pools/{pool}/fail-over",
        does=failing_over.fail_over,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=FailOverIn,
        status=202,
        summary="Bring a lost storage pool's volumes back from their replicas",
        about="It happens by itself when the pool's host is down and its power was seen to be off. What was written since each "
        "volume's last whole point is lost. Machines start again with what is there, all disks of one together.",
        example={"without_power": True},
        name="pools.fail_over",
    ),
    Op(
        method="GET",
        path="/v1/zones/{zone}/pool-plan",
        does=pool_plans.plan,
        permission=Permission.INFRA_READ,
        writes=False,
        query=PoolPlanQuery,
        name="pools.plan",
        summary="Reckon how large a zone's idle pool should be",
        about=(
            "The idle pool is what hosts have free for machines. By the machines that came, were refused and went: how often "
            "one finds no room now, what is to be expected, and how many hosts it takes to keep that below a target."
        ),
    ),
)
