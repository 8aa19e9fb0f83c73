"""Rules, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.rules import (
    BetweenIn,
    FirewallIn,
    ForwardIn,
    RuleMadeOut,
    RuleOut,
    RuleQuery,
    StaticNatIn,
)


class Rules(Group):
    """Rules."""

    def page(self, query: RuleQuery | None = None) -> Page[RuleOut]:
        """List rules."""
        return self._to.read("/v1/rules", Page[RuleOut], query)

    def all(self, query: RuleQuery | None = None) -> Iterator[RuleOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or RuleQuery())

    def forward(self, ask: ForwardIn, **how: Unpack[How]) -> RuleMadeOut:
        """Forward ports of a public address to a machine."""
        return self._to.write("POST", "/v1/rules/forward", RuleMadeOut, ask, how=how)

    def firewall(self, ask: FirewallIn | None = None, **how: Unpack[How]) -> RuleMadeOut:
        """Let traffic pass the firewall."""
        return self._to.write("POST", "/v1/rules/firewall", RuleMadeOut, ask, how=how)

    def static_nat(self, ask: StaticNatIn, **how: Unpack[How]) -> RuleMadeOut:
        """Make a public address a machine's own."""
        return self._to.write("POST", "/v1/rules/static-nat", RuleMadeOut, ask, how=how)

    def between(self, ask: BetweenIn, **how: Unpack[How]) -> RuleMadeOut:
        """Let machines of one network call those of another."""
        return self._to.write("POST", "/v1/rules/between", RuleMadeOut, ask, how=how)

    def get(self, rule: str) -> RuleOut:
        """Show a rule."""
        return self._to.read(f"/v1/rules/{part(rule)}", RuleOut)

    def delete(self, rule: str, **how: Unpack[How]) -> OperationOut:
        """Delete a rule."""
        return self._to.write("DELETE", f"/v1/rules/{part(rule)}", OperationOut, how=how)
