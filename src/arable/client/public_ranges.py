"""Public ranges, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.public_ranges import PublicRangeIn, PublicRangeOut, PublicRangeQuery


class PublicRanges(Group):
    """Public ranges."""

    def page(self, query: PublicRangeQuery | None = None) -> Page[PublicRangeOut]:
        """List ranges of public addresses."""
        return self._to.read("/v1/public-ranges", Page[PublicRangeOut], query)

    def all(self, query: PublicRangeQuery | None = None) -> Iterator[PublicRangeOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or PublicRangeQuery())

    def create(self, ask: PublicRangeIn, **how: Unpack[How]) -> PublicRangeOut:
        """Add a range of public addresses."""
        return self._to.write("POST", "/v1/public-ranges", PublicRangeOut, ask, how=how)

    def get(self, range_: str) -> PublicRangeOut:
        """Show a range of public addresses."""
        return self._to.read(f"/v1/public-ranges/{part(range_)}", PublicRangeOut)

    def delete(self, range_: str, **how: Unpack[How]) -> None:
        """Remove a range of which no address is taken."""
        self._to.write("DELETE", f"/v1/public-ranges/{part(range_)}", type(None), how=how)
