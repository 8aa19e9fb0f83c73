"""The management servers, as the API offers them."""

from arable.client.connection import Group
from arable.wire.control import ControlOut


class Control(Group):
    """Management servers."""

    def status(self) -> ControlOut:
        """Show the management servers."""
        return self._to.read("/v1/control", ControlOut)
