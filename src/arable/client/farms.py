"""Farms, as the API offers them."""

from collections.abc import Iterator

from arable.client.connection import Group, part
from arable.wire.common import Page
from arable.wire.farms import FarmOut, FarmQuery


class Farms(Group):
    """Farms."""

    def page(self, query: FarmQuery | None = None) -> Page[FarmOut]:
        """List farms."""
        return self._to.read("/v1/farms", Page[FarmOut], query)

    def all(self, query: FarmQuery | None = None) -> Iterator[FarmOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or FarmQuery())

    def get(self, farm: str) -> FarmOut:
        """Show a farm."""
        return self._to.read(f"/v1/farms/{part(farm)}", FarmOut)
