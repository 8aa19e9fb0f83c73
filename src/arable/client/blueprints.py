"""Blueprints, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.blueprints import BlueprintIn, BlueprintOut, BlueprintQuery, BlueprintVersionIn
from arable.wire.common import Page


class Blueprints(Group):
    """Blueprints."""

    def page(self, query: BlueprintQuery | None = None) -> Page[BlueprintOut]:
        """List blueprints."""
        return self._to.read("/v1/blueprints", Page[BlueprintOut], query)

    def all(self, query: BlueprintQuery | None = None) -> Iterator[BlueprintOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or BlueprintQuery())

    def create(self, ask: BlueprintIn, **how: Unpack[How]) -> BlueprintOut:
        """Create a blueprint with its first version."""
        return self._to.write("POST", "/v1/blueprints", BlueprintOut, ask, how=how)

    def get(self, blueprint: str) -> BlueprintOut:
        """Show a blueprint with its versions."""
        return self._to.read(f"/v1/blueprints/{part(blueprint)}", BlueprintOut)

    def create_version(
        self, blueprint: str, ask: BlueprintVersionIn, **how: Unpack[How]
    ) -> BlueprintOut:
        """Create the next version of a blueprint."""
        path = f"/v1/blueprints/{part(blueprint)}/versions"
        return self._to.write("POST", path, BlueprintOut, ask, how=how)

    def delete(self, blueprint: str, **how: Unpack[How]) -> None:
        """Delete a blueprint that no tier is made of."""
        self._to.write("DELETE", f"/v1/blueprints/{part(blueprint)}", type(None), how=how)
