"""The management servers, as the API offers them."""

from typing import Unpack

from arable.client.connection import Group, How
from arable.wire.control import ControlOut, ServerChoice, ServerOut


class Control(Group):
    """Management servers."""

    def status(self) -> ControlOut:
        """Show the management servers."""
        return self._to.read("/v1/control", ControlOut)

    def drain(self, ask: ServerChoice, **how: Unpack[How]) -> ServerOut:
        """Have other servers do a management server's work."""
        return self._to.write("POST", "/v1/control/drain", ServerOut, ask, how=how)

    def undrain(self, ask: ServerChoice, **how: Unpack[How]) -> ServerOut:
        """Let a management server take work again."""
        return self._to.write("POST", "/v1/control/undrain", ServerOut, ask, how=how)
