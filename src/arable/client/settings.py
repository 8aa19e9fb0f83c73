"""Settings, as the API offers them."""

from typing import Unpack

from arable.client.connection import Group, How
from arable.wire.settings import SettingsChange, SettingsOut


class Settings(Group):
    """Settings."""

    def get(self) -> SettingsOut:
        """Show all settings."""
        return self._to.read("/v1/settings", SettingsOut)

    def update(self, ask: SettingsChange, **how: Unpack[How]) -> SettingsOut:
        """Change settings."""
        return self._to.write("PATCH", "/v1/settings", SettingsOut, ask, how=how)
