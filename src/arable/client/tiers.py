"""Tiers of farms, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.tiers import TierChange, TierMadeOut, TierOut, TierQuery


class Tiers(Group):
    """Tiers."""

    def page(self, query: TierQuery | None = None) -> Page[TierOut]:
        """List tiers with their elements."""
        return self._to.read("/v1/tiers", Page[TierOut], query)

    def all(self, query: TierQuery | None = None) -> Iterator[TierOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or TierQuery())

    def get(self, tier: str) -> TierOut:
        """Show a tier with its elements."""
        return self._to.read(f"/v1/tiers/{part(tier)}", TierOut)

    def update(self, tier: str, ask: TierChange, **how: Unpack[How]) -> TierMadeOut:
        """Grow or shrink a tier."""
        return self._to.write("PATCH", f"/v1/tiers/{part(tier)}", TierMadeOut, ask, how=how)
