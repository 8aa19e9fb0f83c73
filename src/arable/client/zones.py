"""Zones, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.zones import (
    CapacityOut,
    VlanRange,
    VniRange,
    ZoneChange,
    ZoneIn,
    ZoneOut,
    ZoneQuery,
)


class Zones(Group):
    """Zones."""

    def page(self, query: ZoneQuery | None = None) -> Page[ZoneOut]:
        """List zones."""
        return self._to.read("/v1/zones", Page[ZoneOut], query)

    def all(self, query: ZoneQuery | None = None) -> Iterator[ZoneOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or ZoneQuery())

    def create(self, ask: ZoneIn, **how: Unpack[How]) -> ZoneOut:
        """Create a zone."""
        return self._to.write("POST", "/v1/zones", ZoneOut, ask, how=how)

    def get(self, zone: str) -> ZoneOut:
        """Show a zone."""
        return self._to.read(f"/v1/zones/{part(zone)}", ZoneOut)

    def update(self, zone: str, ask: ZoneChange, **how: Unpack[How]) -> ZoneOut:
        """Change a zone."""
        return self._to.write("PATCH", f"/v1/zones/{part(zone)}", ZoneOut, ask, how=how)

    def delete(self, zone: str, **how: Unpack[How]) -> None:
        """Delete an empty zone."""
        self._to.write("DELETE", f"/v1/zones/{part(zone)}", type(None), how=how)

    def add_vlans(self, zone: str, ask: VlanRange, **how: Unpack[How]) -> ZoneOut:
        """Add guest VLANs to a zone."""
        return self._to.write("POST", f"/v1/zones/{part(zone)}/vlans", ZoneOut, ask, how=how)

    def add_vnis(self, zone: str, ask: VniRange, **how: Unpack[How]) -> ZoneOut:
        """Add VNIs to a zone whose guest networks are in VXLAN."""
        return self._to.write("POST", f"/v1/zones/{part(zone)}/vnis", ZoneOut, ask, how=how)

    def capacity(self, zone: str) -> CapacityOut:
        """Sum up a zone's capacity."""
        return self._to.read(f"/v1/zones/{part(zone)}/capacity", CapacityOut)
