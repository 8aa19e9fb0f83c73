"""Networks, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.networks import NetworkChange, NetworkIn, NetworkOut, NetworkQuery
from arable.wire.operations import OperationOut


class Networks(Group):
    """Networks."""

    def page(self, query: NetworkQuery | None = None) -> Page[NetworkOut]:
        """List networks."""
        return self._to.read("/v1/networks", Page[NetworkOut], query)

    def all(self, query: NetworkQuery | None = None) -> Iterator[NetworkOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or NetworkQuery())

    def create(self, ask: NetworkIn, **how: Unpack[How]) -> NetworkOut:
        """Create a network."""
        return self._to.write("POST", "/v1/networks", NetworkOut, ask, how=how)

    def get(self, network: str) -> NetworkOut:
        """Show a network."""
        return self._to.read(f"/v1/networks/{part(network)}", NetworkOut)

    def update(self, network: str, ask: NetworkChange, **how: Unpack[How]) -> NetworkOut:
        """Change a network."""
        return self._to.write("PATCH", f"/v1/networks/{part(network)}", NetworkOut, ask, how=how)

    def restart(self, network: str, **how: Unpack[How]) -> OperationOut:
        """Make a network's router anew."""
        return self._to.write(
            "POST", f"/v1/networks/{part(network)}/restart", OperationOut, how=how
        )

    def delete(self, network: str, **how: Unpack[How]) -> OperationOut:
        """Delete a network without machines."""
        return self._to.write("DELETE", f"/v1/networks/{part(network)}", OperationOut, how=how)
