"""Pods, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.pods import PodChange, PodIn, PodOut, PodQuery


class Pods(Group):
    """Pods."""

    def page(self, query: PodQuery | None = None) -> Page[PodOut]:
        """List pods."""
        return self._to.read("/v1/pods", Page[PodOut], query)

    def all(self, query: PodQuery | None = None) -> Iterator[PodOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or PodQuery())

    def create(self, ask: PodIn, **how: Unpack[How]) -> PodOut:
        """Create a pod."""
        return self._to.write("POST", "/v1/pods", PodOut, ask, how=how)

    def get(self, pod: str) -> PodOut:
        """Show a pod."""
        return self._to.read(f"/v1/pods/{part(pod)}", PodOut)

    def update(self, pod: str, ask: PodChange, **how: Unpack[How]) -> PodOut:
        """Change a pod."""
        return self._to.write("PATCH", f"/v1/pods/{part(pod)}", PodOut, ask, how=how)

    def delete(self, pod: str, **how: Unpack[How]) -> None:
        """Delete an empty pod."""
        self._to.write("DELETE", f"/v1/pods/{part(pod)}", type(None), how=how)
