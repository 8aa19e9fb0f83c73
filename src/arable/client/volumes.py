"""Volumes, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.volumes import (
    AttachVolumeIn,
    DetachVolumeIn,
    LimitVolumeIn,
    MigrateVolumeIn,
    ResizeVolumeIn,
    VolumeChange,
    VolumeIn,
    VolumeOut,
    VolumeQuery,
)


class Volumes(Group):
    """Volumes."""

    def page(self, query: VolumeQuery | None = None) -> Page[VolumeOut]:
        """List volumes."""
        return self._to.read("/v1/volumes", Page[VolumeOut], query)

    def all(self, query: VolumeQuery | None = None) -> Iterator[VolumeOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or VolumeQuery())

    def create(self, ask: VolumeIn, **how: Unpack[How]) -> VolumeOut:
        """Create a volume."""
        return self._to.write("POST", "/v1/volumes", VolumeOut, ask, how=how)

    def get(self, volume: str) -> VolumeOut:
        """Show a volume."""
        return self._to.read(f"/v1/volumes/{part(volume)}", VolumeOut)

    def update(self, volume: str, ask: VolumeChange, **how: Unpack[How]) -> VolumeOut:
        """Rename a volume."""
        return self._to.write("PATCH", f"/v1/volumes/{part(volume)}", VolumeOut, ask, how=how)

    def attach(self, volume: str, ask: AttachVolumeIn, **how: Unpack[How]) -> OperationOut:
        """Attach a volume to a machine."""
        return self._to.write(
            "POST", f"/v1/volumes/{part(volume)}/attach", OperationOut, ask, how=how
        )

    def detach(
        self, volume: str, ask: DetachVolumeIn | None = None, **how: Unpack[How]
    ) -> OperationOut:
        """Detach a volume from its machine."""
        return self._to.write(
            "POST", f"/v1/volumes/{part(volume)}/detach", OperationOut, ask, how=how
        )

    def resize(self, volume: str, ask: ResizeVolumeIn, **how: Unpack[How]) -> OperationOut:
        """Grow a volume."""
        return self._to.write(
            "POST", f"/v1/volumes/{part(volume)}/resize", OperationOut, ask, how=how
        )

    def limit(self, volume: str, ask: LimitVolumeIn, **how: Unpack[How]) -> OperationOut:
        """Change how fast a volume is."""
        return self._to.write(
            "POST", f"/v1/volumes/{part(volume)}/limit", OperationOut, ask, how=how
        )

    def migrate(self, volume: str, ask: MigrateVolumeIn, **how: Unpack[How]) -> OperationOut:
        """Carry a volume to another storage pool."""
        return self._to.write(
            "POST", f"/v1/volumes/{part(volume)}/migrate", OperationOut, ask, how=how
        )

    def cancel_migration(self, volume: str, **how: Unpack[How]) -> OperationOut:
        """Leave a volume where it is."""
        return self._to.write(
            "POST", f"/v1/volumes/{part(volume)}/cancel-migration", OperationOut, how=how
        )

    def delete(self, volume: str, **how: Unpack[How]) -> OperationOut:
        """Delete a volume."""
        return self._to.write("DELETE", f"/v1/volumes/{part(volume)}", OperationOut, how=how)
