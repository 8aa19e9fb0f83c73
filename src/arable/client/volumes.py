"""Volumes, as the API offers them."""

from collections.abc import Iterator

from arable.client.connection import Group, part
from arable.wire.common import Page
from arable.wire.volumes import VolumeOut, VolumeQuery


class Volumes(Group):
    """Volumes."""

    def page(self, query: VolumeQuery | None = None) -> Page[VolumeOut]:
        """List volumes."""
        return self._to.read("/v1/volumes", Page[VolumeOut], query)

    def all(self, query: VolumeQuery | None = None) -> Iterator[VolumeOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or VolumeQuery())

    def get(self, volume: str) -> VolumeOut:
        """Show a volume."""
        return self._to.read(f"/v1/volumes/{part(volume)}", VolumeOut)
