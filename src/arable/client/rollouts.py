"""Rollouts, and who runs which release, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.rollouts import (
    ReleaseQuery,
    RolloutMadeOut,
    RolloutOut,
    RolloutQuery,
    TierReleasesOut,
)


class Rollouts(Group):
    """Rollouts."""

    def page(self, query: RolloutQuery | None = None) -> Page[RolloutOut]:
        """List rollouts."""
        return self._to.read("/v1/rollouts", Page[RolloutOut], query)

    def all(self, query: RolloutQuery | None = None) -> Iterator[RolloutOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or RolloutQuery())

    def get(self, rollout: str) -> RolloutOut:
        """Show a rollout."""
        return self._to.read(f"/v1/rollouts/{part(rollout)}", RolloutOut)

    def pause(self, rollout: str, **how: Unpack[How]) -> RolloutOut:
        """Pause a rollout."""
        return self._to.write("POST", f"/v1/rollouts/{part(rollout)}/pause", RolloutOut, how=how)

    def resume(self, rollout: str, **how: Unpack[How]) -> RolloutOut:
        """Let a paused rollout go on."""
        return self._to.write("POST", f"/v1/rollouts/{part(rollout)}/resume", RolloutOut, how=how)

    def back(self, rollout: str, **how: Unpack[How]) -> RolloutMadeOut:
        """Turn a rollout back."""
        return self._to.write("POST", f"/v1/rollouts/{part(rollout)}/back", RolloutMadeOut, how=how)


class Releases(Group):
    """What elements run."""

    def page(self, query: ReleaseQuery | None = None) -> Page[TierReleasesOut]:
        """List what elements of tiers run."""
        return self._to.read("/v1/releases", Page[TierReleasesOut], query)

    def all(self, query: ReleaseQuery | None = None) -> Iterator[TierReleasesOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or ReleaseQuery())
