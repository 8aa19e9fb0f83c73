"""Groups, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.groups import GroupIn, GroupOut, GroupQuery


class Groups(Group):
    """Groups."""

    def page(self, query: GroupQuery | None = None) -> Page[GroupOut]:
        """List placement groups."""
        return self._to.read("/v1/groups", Page[GroupOut], query)

    def all(self, query: GroupQuery | None = None) -> Iterator[GroupOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or GroupQuery())

    def create(self, ask: GroupIn, **how: Unpack[How]) -> GroupOut:
        """Create a placement group."""
        return self._to.write("POST", "/v1/groups", GroupOut, ask, how=how)

    def get(self, group: str) -> GroupOut:
        """Show a placement group."""
        return self._to.read(f"/v1/groups/{part(group)}", GroupOut)

    def delete(self, group: str, **how: Unpack[How]) -> None:
        """Delete an empty placement group."""
        self._to.write("DELETE", f"/v1/groups/{part(group)}", type(None), how=how)
