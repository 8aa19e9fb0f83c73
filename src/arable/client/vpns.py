"""VPNs to sites, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.vpns import VpnChange, VpnIn, VpnMadeOut, VpnOut, VpnQuery


class Vpns(Group):
    """VPNs to sites."""

    def page(self, query: VpnQuery | None = None) -> Page[VpnOut]:
        """List VPNs."""
        return self._to.read("/v1/vpns", Page[VpnOut], query)

    def all(self, query: VpnQuery | None = None) -> Iterator[VpnOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or VpnQuery())

    def create(self, ask: VpnIn, **how: Unpack[How]) -> VpnMadeOut:
        """Join a network to one elsewhere."""
        return self._to.write("POST", "/v1/vpns", VpnMadeOut, ask, how=how)

    def get(self, vpn: str) -> VpnOut:
        """Show a VPN."""
        return self._to.read(f"/v1/vpns/{part(vpn)}", VpnOut)

    def update(self, vpn: str, ask: VpnChange, **how: Unpack[How]) -> VpnMadeOut:
        """Change a VPN."""
        return self._to.write("PATCH", f"/v1/vpns/{part(vpn)}", VpnMadeOut, ask, how=how)

    def rotate(self, vpn: str, **how: Unpack[How]) -> VpnMadeOut:
        """Make another key for a VPN."""
        return self._to.write("POST", f"/v1/vpns/{part(vpn)}/rotate", VpnMadeOut, how=how)

    def delete(self, vpn: str, **how: Unpack[How]) -> OperationOut:
        """Delete a VPN."""
        return self._to.write("DELETE", f"/v1/vpns/{part(vpn)}", OperationOut, how=how)
