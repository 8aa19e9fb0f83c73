"""Use, prices, bills and credit over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import bills, credit, prices
from arable.wire.billing import (
    BillListQuery,
    BillQuery,
    CreditEntryIn,
    CreditLimitIn,
    CreditQuery,
    PriceListIn,
    PriceQuery,
    UsageQuery,
)

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/usage",
        does=bills.usage,
        permission=Permission.BILLING_READ,
        writes=False,
        name="usage.page",
        summary="List what was used, as intervals",
        query=UsageQuery,
        about="Those that have a part in the period; `seconds` is how much of each is in it.",
    ),
    Op(
        method="GET",
        path="/v1/bills",
        does=bills.page,
        permission=Permission.BILLING_READ,
        writes=False,
        summary="List accounts' bills of a month",
        query=BillListQuery,
    ),
    Op(
        method="GET",
        path="/v1/bills/detailed",
        does=bills.get,
        permission=Permission.BILLING_READ,
        writes=False,
        summary="Show a bill",
        query=BillQuery,
        about=(
            "Pay as you go: what was used to the microsecond, at the prices that held. The bill of a period is the sum of "
            "the bills of its parts."
        ),
    ),
    Op(
        method="GET",
        path="/v1/prices",
        does=prices.page,
        permission=Permission.BILLING_READ,
        writes=False,
        summary="List price lists",
        query=PriceQuery,
    ),
    Op(
        method="POST",
        path="/v1/prices",
        does=prices.put,
        permission=Permission.BILLING_WRITE,
        writes=True,
        name="prices.set",
        summary="Set prices",
        takes=PriceListIn,
        status=201,
        about="A list is whole, and holds from its moment until the next one's. What was used before keeps its price.",
        example={
            "currency": "EUR",
            "prices": [
                {"kind": "running", "amount": "0.012"},
                {"kind": "volume", "amount": "0.04"},
            ],
        },
    ),
    Op(
        method="GET",
        path="/v1/credit",
        does=credit.page,
        permission=Permission.BILLING_READ,
        writes=False,
        summary="List entries of credit",
        query=CreditQuery,
    ),
    Op(
        method="GET",
        path="/v1/accounts/{account}/credit",
        does=credit.get,
        permission=Permission.BILLING_READ,
        writes=False,
        summary="Show what an account has paid ahead and used",
    ),
    Op(
        method="POST",
        path="/v1/accounts/{account}/credit",
        does=credit.add,
        permission=Permission.BILLING_WRITE,
        writes=True,
        conditions=False,
        summary="Add a payment to an account's credit",
        takes=CreditEntryIn,
        status=201,
        about="Entries are never changed. A key that was used already gives the entry of before.",
        example={"amount": "100", "key": "payment-4711"},
    ),
    Op(
        method="PUT",
        path="/v1/accounts/{account}/credit",
        does=credit.limit,
        permission=Permission.BILLING_WRITE,
        writes=True,
        conditions=False,
        summary="Say how much an account may owe",
        takes=CreditLimitIn,
        example={"amount": "50"},
    ),
)
