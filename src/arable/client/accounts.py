"""Whose things are whose."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.accounts import (
    AccountChange,
    AccountIn,
    AccountOut,
    AccountQuery,
    DomainIn,
    DomainOut,
    DomainQuery,
    LimitsChange,
    LimitsOut,
)
from arable.wire.common import Page
from arable.wire.regions import FederationIn


class Domains(Group):
    """The tree of domains."""

    def page(self, query: DomainQuery | None = None) -> Page[DomainOut]:
        """List domains."""
        return self._to.read("/v1/domains", Page[DomainOut], query)

    def all(self, query: DomainQuery | None = None) -> Iterator[DomainOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or DomainQuery())

    def create(self, ask: DomainIn, **how: Unpack[How]) -> DomainOut:
        """Create a domain."""
        return self._to.write("POST", "/v1/domains", DomainOut, ask, how=how)

    def get(self, domain: str) -> DomainOut:
        """Show a domain."""
        return self._to.read(f"/v1/domains/{part(domain)}", DomainOut)

    def delete(self, domain: str, **how: Unpack[How]) -> None:
        """Delete an empty domain."""
        self._to.write("DELETE", f"/v1/domains/{part(domain)}", type(None), how=how)


class Accounts(Group):
    """Accounts."""

    def page(self, query: AccountQuery | None = None) -> Page[AccountOut]:
        """List accounts."""
        return self._to.read("/v1/accounts", Page[AccountOut], query)

    def all(self, query: AccountQuery | None = None) -> Iterator[AccountOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or AccountQuery())

    def create(self, ask: AccountIn, **how: Unpack[How]) -> AccountOut:
        """Create an account, with its first user."""
        return self._to.write("POST", "/v1/accounts", AccountOut, ask, how=how)

    def get(self, account: str) -> AccountOut:
        """Show an account."""
        return self._to.read(f"/v1/accounts/{part(account)}", AccountOut)

    def update(self, account: str, ask: AccountChange, **how: Unpack[How]) -> AccountOut:
        """Rename, disable or enable an account."""
        return self._to.write("PATCH", f"/v1/accounts/{part(account)}", AccountOut, ask, how=how)

    def delete(self, account: str, **how: Unpack[How]) -> None:
        """Delete an account that owns nothing."""
        self._to.write("DELETE", f"/v1/accounts/{part(account)}", type(None), how=how)

    def federate(self, account: str, ask: FederationIn, **how: Unpack[How]) -> AccountOut:
        """Say from which regions an account may be asked for."""
        path = f"/v1/accounts/{part(account)}/federate"
        return self._to.write("POST", path, AccountOut, ask, how=how)


class Limits(Group):
    """What accounts hold and may hold."""

    def get(self, account: str) -> LimitsOut:
        """Show what an account holds and may hold."""
        return self._to.read(f"/v1/accounts/{part(account)}/limits", LimitsOut)

    def update(self, account: str, ask: LimitsChange, **how: Unpack[How]) -> LimitsOut:
        """Change an account's limits."""
        return self._to.write(
            "PATCH", f"/v1/accounts/{part(account)}/limits", LimitsOut, ask, how=how
        )
