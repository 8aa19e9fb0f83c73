"""Storage zones, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.storage_zones import StorageZoneIn, StorageZoneOut, StorageZoneQuery


class StorageZones(Group):
    """Storage zones that farms share."""

    def page(self, query: StorageZoneQuery | None = None) -> Page[StorageZoneOut]:
        """List storage zones that farms share."""
        return self._to.read("/v1/storage-zones", Page[StorageZoneOut], query)

    def all(self, query: StorageZoneQuery | None = None) -> Iterator[StorageZoneOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or StorageZoneQuery())

    def create(self, ask: StorageZoneIn, **how: Unpack[How]) -> StorageZoneOut:
        """Create a storage zone for several farms."""
        return self._to.write("POST", "/v1/storage-zones", StorageZoneOut, ask, how=how)

    def get(self, storagezone: str) -> StorageZoneOut:
        """Show a storage zone."""
        return self._to.read(f"/v1/storage-zones/{part(storagezone)}", StorageZoneOut)

    def delete(self, storagezone: str, **how: Unpack[How]) -> None:
        """Delete a storage zone."""
        self._to.write("DELETE", f"/v1/storage-zones/{part(storagezone)}", type(None), how=how)
