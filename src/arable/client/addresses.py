"""Addresses, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.addresses import AddressChange, AddressIn, AddressOut, AddressQuery, AssociateIn
from arable.wire.common import Page
from arable.wire.operations import OperationOut


class Addresses(Group):
    """Addresses."""

    def page(self, query: AddressQuery | None = None) -> Page[AddressOut]:
        """List public addresses."""
        return self._to.read("/v1/addresses", Page[AddressOut], query)

    def all(self, query: AddressQuery | None = None) -> Iterator[AddressOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or AddressQuery())

    def acquire(self, ask: AddressIn | None = None, **how: Unpack[How]) -> AddressOut:
        """Acquire a public address."""
        return self._to.write("POST", "/v1/addresses", AddressOut, ask, how=how)

    def get(self, address: str) -> AddressOut:
        """Show a public address."""
        return self._to.read(f"/v1/addresses/{part(address)}", AddressOut)

    def update(self, address: str, ask: AddressChange, **how: Unpack[How]) -> AddressOut:
        """Name a public address."""
        return self._to.write("PATCH", f"/v1/addresses/{part(address)}", AddressOut, ask, how=how)

    def associate(self, address: str, ask: AssociateIn, **how: Unpack[How]) -> OperationOut:
        """Give a public address to a network."""
        return self._to.write(
            "POST", f"/v1/addresses/{part(address)}/associate", OperationOut, ask, how=how
        )

    def release(self, address: str, **how: Unpack[How]) -> OperationOut:
        """Release a public address."""
        return self._to.write("DELETE", f"/v1/addresses/{part(address)}", OperationOut, how=how)
