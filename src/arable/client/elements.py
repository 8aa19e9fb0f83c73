"""Elements of tiers, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.elements import ElementOut, ElementQuery, ElementReplaceIn
from arable.wire.operations import OperationOut


class Elements(Group):
    """Elements of tiers."""

    def page(self, query: ElementQuery | None = None) -> Page[ElementOut]:
        """List elements of tiers."""
        return self._to.read("/v1/elements", Page[ElementOut], query)

    def all(self, query: ElementQuery | None = None) -> Iterator[ElementOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or ElementQuery())

    def get(self, element: str) -> ElementOut:
        """Show an element of a tier."""
        return self._to.read(f"/v1/elements/{part(element)}", ElementOut)

    def replace(
        self, element: str, ask: ElementReplaceIn | None = None, **how: Unpack[How]
    ) -> OperationOut:
        """Give an element another machine."""
        path = f"/v1/elements/{part(element)}/replace"
        return self._to.write("POST", path, OperationOut, ask, how=how)
