"""Pools, as the API offers them."""

from collections.abc import Iterator

from arable.client.connection import Group, part
from arable.wire.common import Page
from arable.wire.pools import PoolOut, PoolQuery


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
