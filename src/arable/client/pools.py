"""Pools, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.pool_plans import PoolPlanOut, PoolPlanQuery
from arable.wire.pools import FailOverIn, FailOverPlanOut, PoolChange, PoolOut, PoolQuery


class Pools(Group):
    """Pools."""

    def page(self, query: PoolQuery | None = None) -> Page[PoolOut]:
        """List storage pools."""
        return self._to.read("/v1/pools", Page[PoolOut], query)

    def all(self, query: PoolQuery | None = None) -> Iterator[PoolOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or PoolQuery())

    def get(self, pool: str) -> PoolOut:
        """Show a storage pool."""
        return self._to.read(f"/v1/pools/{part(pool)}", PoolOut)

    def update(self, pool: str, ask: PoolChange, **how: Unpack[How]) -> PoolOut:
        """Change how much of a storage pool may be promised."""
        return self._to.write("PATCH", f"/v1/pools/{part(pool)}", PoolOut, ask, how=how)

    def fail_over_plan(self, pool: str) -> FailOverPlanOut:
        """Show what of a storage pool could be brought back from replicas."""
        return self._to.read(f"/v1/pools/{part(pool)}/fail-over", FailOverPlanOut)

    def fail_over(self, pool: str, ask: FailOverIn, **how: Unpack[How]) -> OperationOut:
        """Bring a lost storage pool's volumes back from their replicas."""
        return self._to.write(
            "POST", f"/v1/pools/{part(pool)}/fail-over", OperationOut, ask, how=how
        )

    def plan(self, zone: str, query: PoolPlanQuery | None = None) -> PoolPlanOut:
        """Reckon how large a zone's idle pool should be."""
        return self._to.read(f"/v1/zones/{part(zone)}/pool-plan", PoolPlanOut, query)
