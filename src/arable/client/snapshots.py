"""Snapshots, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.snapshots import SnapshotIn, SnapshotMadeOut, SnapshotOut, SnapshotQuery


class Snapshots(Group):
    """Snapshots."""

    def page(self, query: SnapshotQuery | None = None) -> Page[SnapshotOut]:
        """List snapshots."""
        return self._to.read("/v1/snapshots", Page[SnapshotOut], query)

    def all(self, query: SnapshotQuery | None = None) -> Iterator[SnapshotOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or SnapshotQuery())

    def create(self, ask: SnapshotIn, **how: Unpack[How]) -> SnapshotMadeOut:
        """Take a snapshot of a volume."""
        return self._to.write("POST", "/v1/snapshots", SnapshotMadeOut, ask, how=how)

    def get(self, snapshot: str) -> SnapshotOut:
        """Show a snapshot."""
        return self._to.read(f"/v1/snapshots/{part(snapshot)}", SnapshotOut)

    def restore(self, snapshot: str, **how: Unpack[How]) -> OperationOut:
        """Set a volume back to a snapshot."""
        path = f"/v1/snapshots/{part(snapshot)}/restore"
        return self._to.write("POST", path, OperationOut, how=how)

    def delete(self, snapshot: str, **how: Unpack[How]) -> OperationOut:
        """Delete a snapshot."""
        return self._to.write("DELETE", f"/v1/snapshots/{part(snapshot)}", OperationOut, how=how)
