"""IPv6 ranges, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.ipv6_ranges import Ipv6RangeIn, Ipv6RangeOut, Ipv6RangeQuery


class Ipv6Ranges(Group):
    """IPv6 ranges."""

    def page(self, query: Ipv6RangeQuery | None = None) -> Page[Ipv6RangeOut]:
        """List ranges of IPv6."""
        return self._to.read("/v1/ipv6-ranges", Page[Ipv6RangeOut], query)

    def all(self, query: Ipv6RangeQuery | None = None) -> Iterator[Ipv6RangeOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or Ipv6RangeQuery())

    def create(self, ask: Ipv6RangeIn, **how: Unpack[How]) -> Ipv6RangeOut:
        """Add a range of IPv6."""
        return self._to.write("POST", "/v1/ipv6-ranges", Ipv6RangeOut, ask, how=how)

    def get(self, range_: str) -> Ipv6RangeOut:
        """Show a range of IPv6."""
        return self._to.read(f"/v1/ipv6-ranges/{part(range_)}", Ipv6RangeOut)

    def delete(self, range_: str, **how: Unpack[How]) -> None:
        """Remove a range of which no network has a prefix."""
        self._to.write("DELETE", f"/v1/ipv6-ranges/{part(range_)}", type(None), how=how)
