"""Load balancers, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.balancers import (
    BalancerChange,
    BalancerIn,
    BalancerMadeOut,
    BalancerOut,
    BalancerQuery,
    BalancerStatsOut,
    MemberChange,
    MemberIn,
    RemoveMemberQuery,
)
from arable.wire.common import Page
from arable.wire.operations import OperationOut


class Balancers(Group):
    """Load balancers."""

    def page(self, query: BalancerQuery | None = None) -> Page[BalancerOut]:
        """List balancers."""
        return self._to.read("/v1/balancers", Page[BalancerOut], query)

    def all(self, query: BalancerQuery | None = None) -> Iterator[BalancerOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or BalancerQuery())

    def create(self, ask: BalancerIn, **how: Unpack[How]) -> BalancerMadeOut:
        """Spread a port of an address over machines."""
        return self._to.write("POST", "/v1/balancers", BalancerMadeOut, ask, how=how)

    def get(self, balancer: str) -> BalancerOut:
        """Show a balancer."""
        return self._to.read(f"/v1/balancers/{part(balancer)}", BalancerOut)

    def stats(self, balancer: str) -> BalancerStatsOut:
        """Show what a balancer does."""
        return self._to.read(f"/v1/balancers/{part(balancer)}/stats", BalancerStatsOut)

    def update(self, balancer: str, ask: BalancerChange, **how: Unpack[How]) -> BalancerMadeOut:
        """Change a balancer."""
        path = f"/v1/balancers/{part(balancer)}"
        return self._to.write("PATCH", path, BalancerMadeOut, ask, how=how)

    def delete(self, balancer: str, **how: Unpack[How]) -> OperationOut:
        """Delete a balancer."""
        return self._to.write("DELETE", f"/v1/balancers/{part(balancer)}", OperationOut, how=how)

    def add_member(self, balancer: str, ask: MemberIn, **how: Unpack[How]) -> BalancerMadeOut:
        """Add a member to a balancer."""
        path = f"/v1/balancers/{part(balancer)}/members"
        return self._to.write("POST", path, BalancerMadeOut, ask, how=how)

    def update_member(
        self, balancer: str, machine: str, ask: MemberChange, **how: Unpack[How]
    ) -> BalancerMadeOut:
        """Change a member of a balancer, or let it drain."""
        path = f"/v1/balancers/{part(balancer)}/members/{part(machine)}"
        return self._to.write("PATCH", path, BalancerMadeOut, ask, how=how)

    def remove_member(
        self,
        balancer: str,
        machine: str,
        query: RemoveMemberQuery | None = None,
        **how: Unpack[How],
    ) -> OperationOut:
        """Remove a member from a balancer."""
        path = f"/v1/balancers/{part(balancer)}/members/{part(machine)}"
        return self._to.write("DELETE", path, OperationOut, query=query, how=how)
