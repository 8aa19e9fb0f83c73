"""Use, prices, bills and credit, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.billing import (
    BillListQuery,
    BillOut,
    BillQuery,
    BillSumOut,
    CreditEntryIn,
    CreditEntryOut,
    CreditLimitIn,
    CreditOut,
    CreditQuery,
    PriceListIn,
    PriceListOut,
    PriceQuery,
    UsageQuery,
    UsageRecordOut,
)
from arable.wire.common import Page


class Usage(Group):
    """What was used."""

    def page(self, query: UsageQuery | None = None) -> Page[UsageRecordOut]:
        """List what was used, as intervals."""
        return self._to.read("/v1/usage", Page[UsageRecordOut], query)

    def all(self, query: UsageQuery | None = None) -> Iterator[UsageRecordOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or UsageQuery())


class Bills(Group):
    """What it costs."""

    def page(self, query: BillListQuery | None = None) -> Page[BillSumOut]:
        """List accounts' bills of a month."""
        return self._to.read("/v1/bills", Page[BillSumOut], query)

    def all(self, query: BillListQuery | None = None) -> Iterator[BillSumOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or BillListQuery())

    def get(self, query: BillQuery | None = None) -> BillOut:
        """Show a bill."""
        return self._to.read("/v1/bills/detailed", BillOut, query)


class Prices(Group):
    """Price lists."""

    def page(self, query: PriceQuery | None = None) -> Page[PriceListOut]:
        """List price lists."""
        return self._to.read("/v1/prices", Page[PriceListOut], query)

    def all(self, query: PriceQuery | None = None) -> Iterator[PriceListOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or PriceQuery())

    def set(self, ask: PriceListIn, **how: Unpack[How]) -> PriceListOut:
        """Set prices."""
        return self._to.write("POST", "/v1/prices", PriceListOut, ask, how=how)


class Credit(Group):
    """What accounts have paid ahead."""

    def page(self, query: CreditQuery | None = None) -> Page[CreditEntryOut]:
        """List entries of credit."""
        return self._to.read("/v1/credit", Page[CreditEntryOut], query)

    def all(self, query: CreditQuery | None = None) -> Iterator[CreditEntryOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or CreditQuery())

    def get(self, account: str) -> CreditOut:
        """Show what an account has paid ahead and used."""
        return self._to.read(f"/v1/accounts/{part(account)}/credit", CreditOut)

    def add(self, account: str, ask: CreditEntryIn, **how: Unpack[How]) -> CreditEntryOut:
        """Add a payment to an account's credit."""
        path = f"/v1/accounts/{part(account)}/credit"
        return self._to.write("POST", path, CreditEntryOut, ask, how=how)

    def limit(self, account: str, ask: CreditLimitIn, **how: Unpack[How]) -> CreditOut:
        """Say how much an account may owe."""
        path = f"/v1/accounts/{part(account)}/credit"
        return self._to.write("PUT", path, CreditOut, ask, how=how)
