"""Hosts, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.hosts import (
    BmcIn,
    BmcOut,
    HostChange,
    HostDetailOut,
    HostOut,
    HostQuery,
    JoinTokenIn,
    JoinTokenOut,
    JoinTokenQuery,
    NewJoinTokenOut,
    PowerIn,
)


class Hosts(Group):
    """Hosts."""

    def page(self, query: HostQuery | None = None) -> Page[HostOut]:
        """List hosts."""
        return self._to.read("/v1/hosts", Page[HostOut], query)

    def all(self, query: HostQuery | None = None) -> Iterator[HostOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or HostQuery())

    def get(self, host: str) -> HostDetailOut:
        """Show a host, and who sees it."""
        return self._to.read(f"/v1/hosts/{part(host)}", HostDetailOut)

    def update(self, host: str, ask: HostChange, **how: Unpack[How]) -> HostOut:
        """Change a host."""
        return self._to.write("PATCH", f"/v1/hosts/{part(host)}", HostOut, ask, how=how)

    def delete(self, host: str, **how: Unpack[How]) -> None:
        """Remove an empty host."""
        self._to.write("DELETE", f"/v1/hosts/{part(host)}", type(None), how=how)

    def declare_down(self, host: str, **how: Unpack[How]) -> HostOut:
        """Say that a silent host is down."""
        return self._to.write("POST", f"/v1/hosts/{part(host)}/declare-down", HostOut, how=how)

    def remove_lost(self, host: str, **how: Unpack[How]) -> HostOut:
        """Remove a host that will never come back."""
        return self._to.write("POST", f"/v1/hosts/{part(host)}/remove-lost", HostOut, how=how)

    def set_bmc(self, host: str, ask: BmcIn, **how: Unpack[How]) -> BmcOut:
        """Say by what a host's power is switched."""
        return self._to.write("PUT", f"/v1/hosts/{part(host)}/bmc", BmcOut, ask, how=how)

    def remove_bmc(self, host: str, **how: Unpack[How]) -> None:
        """Have nobody switch a host's power any more."""
        self._to.write("DELETE", f"/v1/hosts/{part(host)}/bmc", type(None), how=how)

    def power(self, host: str, ask: PowerIn, **how: Unpack[How]) -> BmcOut:
        """Power a host on or off."""
        return self._to.write("POST", f"/v1/hosts/{part(host)}/power", BmcOut, ask, how=how)

    def sleep(self, host: str, **how: Unpack[How]) -> HostOut:
        """Power an idle host down until it is needed."""
        return self._to.write("POST", f"/v1/hosts/{part(host)}/sleep", HostOut, how=how)

    def wake(self, host: str, **how: Unpack[How]) -> HostOut:
        """Power a sleeping host on."""
        return self._to.write("POST", f"/v1/hosts/{part(host)}/wake", HostOut, how=how)


class JoinTokens(Group):
    """Join tokens."""

    def page(self, query: JoinTokenQuery | None = None) -> Page[JoinTokenOut]:
        """List join tokens."""
        return self._to.read("/v1/join-tokens", Page[JoinTokenOut], query)

    def all(self, query: JoinTokenQuery | None = None) -> Iterator[JoinTokenOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or JoinTokenQuery())

    def create(self, ask: JoinTokenIn, **how: Unpack[How]) -> NewJoinTokenOut:
        """Create a token that lets one host join, or join anew."""
        return self._to.write("POST", "/v1/join-tokens", NewJoinTokenOut, ask, how=how)

    def delete(self, jointoken: str, **how: Unpack[How]) -> None:
        """Revoke a join token."""
        self._to.write("DELETE", f"/v1/join-tokens/{part(jointoken)}", type(None), how=how)
