"""Remote access to networks and its clients, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.remote_accesses import (
    RemoteAccessChange,
    RemoteAccessIn,
    RemoteAccessMadeOut,
    RemoteAccessOut,
    RemoteAccessQuery,
    VpnClientIn,
    VpnClientMadeOut,
    VpnClientOut,
    VpnClientQuery,
)


class RemoteAccesses(Group):
    """Ways into networks for people's own computers."""

    def page(self, query: RemoteAccessQuery | None = None) -> Page[RemoteAccessOut]:
        """List remote accesses."""
        return self._to.read("/v1/remote-accesses", Page[RemoteAccessOut], query)

    def all(self, query: RemoteAccessQuery | None = None) -> Iterator[RemoteAccessOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or RemoteAccessQuery())

    def create(self, ask: RemoteAccessIn, **how: Unpack[How]) -> RemoteAccessMadeOut:
        """Open a network to people's own computers."""
        return self._to.write("POST", "/v1/remote-accesses", RemoteAccessMadeOut, ask, how=how)

    def get(self, access: str) -> RemoteAccessOut:
        """Show a remote access."""
        return self._to.read(f"/v1/remote-accesses/{part(access)}", RemoteAccessOut)

    def update(
        self, access: str, ask: RemoteAccessChange, **how: Unpack[How]
    ) -> RemoteAccessMadeOut:
        """Change a remote access."""
        path = f"/v1/remote-accesses/{part(access)}"
        return self._to.write("PATCH", path, RemoteAccessMadeOut, ask, how=how)

    def delete(self, access: str, **how: Unpack[How]) -> OperationOut:
        """Delete a remote access."""
        path = f"/v1/remote-accesses/{part(access)}"
        return self._to.write("DELETE", path, OperationOut, how=how)


class VpnClients(Group):
    """Computers that have remote access."""

    def page(self, query: VpnClientQuery | None = None) -> Page[VpnClientOut]:
        """List clients of remote access."""
        return self._to.read("/v1/vpn-clients", Page[VpnClientOut], query)

    def all(self, query: VpnClientQuery | None = None) -> Iterator[VpnClientOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or VpnClientQuery())

    def create(self, ask: VpnClientIn, **how: Unpack[How]) -> VpnClientMadeOut:
        """Give a computer remote access."""
        return self._to.write("POST", "/v1/vpn-clients", VpnClientMadeOut, ask, how=how)

    def get(self, vpnclient: str) -> VpnClientOut:
        """Show a client of remote access."""
        return self._to.read(f"/v1/vpn-clients/{part(vpnclient)}", VpnClientOut)

    def delete(self, vpnclient: str, **how: Unpack[How]) -> OperationOut:
        """Revoke a client's remote access."""
        return self._to.write("DELETE", f"/v1/vpn-clients/{part(vpnclient)}", OperationOut, how=how)
