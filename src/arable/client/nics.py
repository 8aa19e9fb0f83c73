"""Machines' ports, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.nics import AttachIn, DetachNicQuery, NicChange, NicMadeOut, NicOut, NicQuery
from arable.wire.operations import OperationOut


class Nics(Group):
    """Machines' ports."""

    def page(self, query: NicQuery | None = None) -> Page[NicOut]:
        """List machines' ports."""
        return self._to.read("/v1/nics", Page[NicOut], query)

    def all(self, query: NicQuery | None = None) -> Iterator[NicOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or NicQuery())

    def attach(self, ask: AttachIn, **how: Unpack[How]) -> NicMadeOut:
        """Attach a machine to a network."""
        return self._to.write("POST", "/v1/nics", NicMadeOut, ask, how=how)

    def get(self, nic: str) -> NicOut:
        """Show a machine's port."""
        return self._to.read(f"/v1/nics/{part(nic)}", NicOut)

    def update(self, nic: str, ask: NicChange, **how: Unpack[How]) -> OperationOut:
        """Change a machine's port."""
        return self._to.write("PATCH", f"/v1/nics/{part(nic)}", OperationOut, ask, how=how)

    def detach(
        self, nic: str, query: DetachNicQuery | None = None, **how: Unpack[How]
    ) -> OperationOut:
        """Detach a machine from a network."""
        path = f"/v1/nics/{part(nic)}"
        return self._to.write("DELETE", path, OperationOut, query=query, how=how)
