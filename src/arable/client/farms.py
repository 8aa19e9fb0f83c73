"""Farms, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.farms import FarmChange, FarmIn, FarmMadeOut, FarmOut, FarmQuery
from arable.wire.operations import OperationOut


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

    def create(self, ask: FarmIn, **how: Unpack[How]) -> FarmMadeOut:
        """Create a farm by its document."""
        return self._to.write("POST", "/v1/farms", FarmMadeOut, ask, how=how)

    def update(self, farm: str, ask: FarmChange, **how: Unpack[How]) -> FarmMadeOut:
        """Change a farm's document."""
        return self._to.write("PATCH", f"/v1/farms/{part(farm)}", FarmMadeOut, ask, how=how)

    def rotate_keys(self, farm: str, **how: Unpack[How]) -> OperationOut:
        """Give the links between its regions other keys."""
        return self._to.write("POST", f"/v1/farms/{part(farm)}/rotate-keys", OperationOut, how=how)

    def delete(self, farm: str, **how: Unpack[How]) -> OperationOut:
        """Delete a farm with all that it made."""
        return self._to.write("DELETE", f"/v1/farms/{part(farm)}", OperationOut, how=how)
