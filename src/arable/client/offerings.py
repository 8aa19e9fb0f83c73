"""Offerings, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.offerings import (
    DiskOfferingChange,
    DiskOfferingIn,
    DiskOfferingOut,
    OfferingChange,
    OfferingIn,
    OfferingOut,
    OfferingQuery,
)


class Offerings(Group):
    """Offerings."""

    def page(self, query: OfferingQuery | None = None) -> Page[OfferingOut]:
        """List offerings."""
        return self._to.read("/v1/offerings", Page[OfferingOut], query)

    def all(self, query: OfferingQuery | None = None) -> Iterator[OfferingOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or OfferingQuery())

    def create(self, ask: OfferingIn, **how: Unpack[How]) -> OfferingOut:
        """Create an offering."""
        return self._to.write("POST", "/v1/offerings", OfferingOut, ask, how=how)

    def get(self, offering: str) -> OfferingOut:
        """Show an offering."""
        return self._to.read(f"/v1/offerings/{part(offering)}", OfferingOut)

    def update(self, offering: str, ask: OfferingChange, **how: Unpack[How]) -> OfferingOut:
        """Change an offering."""
        return self._to.write("PATCH", f"/v1/offerings/{part(offering)}", OfferingOut, ask, how=how)

    def delete(self, offering: str, **how: Unpack[How]) -> None:
        """Delete an offering that nothing was made of."""
        self._to.write("DELETE", f"/v1/offerings/{part(offering)}", type(None), how=how)


class DiskOfferings(Group):
    """Disk offerings."""

    def page(self, query: OfferingQuery | None = None) -> Page[DiskOfferingOut]:
        """List disk offerings."""
        return self._to.read("/v1/disk-offerings", Page[DiskOfferingOut], query)

    def all(self, query: OfferingQuery | None = None) -> Iterator[DiskOfferingOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or OfferingQuery())

    def create(self, ask: DiskOfferingIn, **how: Unpack[How]) -> DiskOfferingOut:
        """Create a disk offering."""
        return self._to.write("POST", "/v1/disk-offerings", DiskOfferingOut, ask, how=how)

    def get(self, diskoffering: str) -> DiskOfferingOut:
        """Show a disk offering."""
        return self._to.read(f"/v1/disk-offerings/{part(diskoffering)}", DiskOfferingOut)

    def update(
        self, diskoffering: str, ask: DiskOfferingChange, **how: Unpack[How]
    ) -> DiskOfferingOut:
        """Change a disk offering."""
        return self._to.write(
            "PATCH", f"/v1/disk-offerings/{part(diskoffering)}", DiskOfferingOut, ask, how=how
        )

    def delete(self, diskoffering: str, **how: Unpack[How]) -> None:
        """Delete a disk offering."""
        self._to.write("DELETE", f"/v1/disk-offerings/{part(diskoffering)}", type(None), how=how)
