"""Orders and service plans, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.orders import (
    OrderIn,
    OrderMadeOut,
    OrderOut,
    OrderQuery,
    PlanChange,
    PlanIn,
    PlanOut,
    PlanQuery,
    ReviewIn,
)


class Orders(Group):
    """Orders."""

    def page(self, query: OrderQuery | None = None) -> Page[OrderOut]:
        """List orders."""
        return self._to.read("/v1/orders", Page[OrderOut], query)

    def all(self, query: OrderQuery | None = None) -> Iterator[OrderOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or OrderQuery())

    def get(self, order: str) -> OrderOut:
        """Show an order."""
        return self._to.read(f"/v1/orders/{part(order)}", OrderOut)

    def create(self, ask: OrderIn, **how: Unpack[How]) -> OrderMadeOut:
        """Order a farm."""
        return self._to.write("POST", "/v1/orders", OrderMadeOut, ask, how=how)

    def approve(self, order: str, ask: ReviewIn, **how: Unpack[How]) -> OrderOut:
        """Approve an order that is reviewed."""
        return self._to.write("POST", f"/v1/orders/{part(order)}/approve", OrderOut, ask, how=how)

    def refuse(self, order: str, ask: ReviewIn, **how: Unpack[How]) -> OrderOut:
        """Refuse an order that is reviewed."""
        return self._to.write("POST", f"/v1/orders/{part(order)}/refuse", OrderOut, ask, how=how)

    def withdraw(self, order: str, **how: Unpack[How]) -> OrderOut:
        """Withdraw an order before its farm is made."""
        return self._to.write("POST", f"/v1/orders/{part(order)}/withdraw", OrderOut, how=how)


class Plans(Group):
    """Service plans."""

    def page(self, query: PlanQuery | None = None) -> Page[PlanOut]:
        """List service plans."""
        return self._to.read("/v1/plans", Page[PlanOut], query)

    def all(self, query: PlanQuery | None = None) -> Iterator[PlanOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or PlanQuery())

    def get(self, plan: str) -> PlanOut:
        """Show a service plan."""
        return self._to.read(f"/v1/plans/{part(plan)}", PlanOut)

    def create(self, ask: PlanIn, **how: Unpack[How]) -> PlanOut:
        """Create a service plan."""
        return self._to.write("POST", "/v1/plans", PlanOut, ask, how=how)

    def update(self, plan: str, ask: PlanChange, **how: Unpack[How]) -> PlanOut:
        """Change a service plan."""
        return self._to.write("PATCH", f"/v1/plans/{part(plan)}", PlanOut, ask, how=how)

    def delete(self, plan: str, **how: Unpack[How]) -> None:
        """Delete a service plan."""
        self._to.write("DELETE", f"/v1/plans/{part(plan)}", type(None), how=how)
