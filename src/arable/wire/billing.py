"""How use, prices, bills and credit look. Amounts are text: decimals that no reader rounds."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from arable.wire.common import Id, In, NameOrId, Out, PageQuery, Plain
from arable.wire.events import Number

KindName = Annotated[
    Literal["running", "machine", "volume", "address", "network"],
    Meta(
        description="running: machines while they run; machine: machines while they are there, running or not."
    ),
]
Amount = Annotated[
    str,
    Meta(
        max_length=22,
        pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,6})?$(?!\n)",
        description="Exact: digits, and at most six of them behind a point.",
        examples=["12.50"],
    ),
]
Booked = Annotated[
    str,
    Meta(
        max_length=20,
        pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,6})?$(?!\n)",
        description="Exact: at most twelve digits, and at most six behind a point.",
        examples=["12.50"],
    ),
]
"""What somebody says: in micro-units it has to be a number that databases keep."""
Price = Annotated[
    str,
    Meta(
        max_length=16,
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$(?!\n)",
        description="For an hour; of volumes for a GiB and a month of 730 hours.",
        examples=["0.012"],
    ),
]
Currency = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=3,
        pattern=r"^[A-Z]{3}$(?!\n)",
        description="Three letters, as ISO 4217 has them. The cloud has one.",
        examples=["EUR"],
    ),
]
Moment = Annotated[
    str,
    Meta(
        max_length=35,
        pattern=r"^[0-9]{4}-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?)?$(?!\n)",
        description="A month, a day or a moment, by UTC where nothing else is said.",
        examples=["2026-11-01"],
    ),
]
Month = Annotated[
    str,
    Meta(
        max_length=7,
        pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$(?!\n)",
        description="A month, by UTC.",
        examples=["2026-11"],
    ),
]
Reference = Annotated[
    Plain,
    Meta(
        max_length=120,
        description="What it is called elsewhere, such as the number of an invoice. Never a card's number or another secret.",
    ),
]


class UsageQuery(PageQuery, frozen=True, kw_only=True):
    """Which records: those that have a part in the period."""

    after: Annotated[Number, Meta(description="`next` of the page before.")] | None = None
    begin: Annotated[Moment, Meta(description="From when; left out: this month's first moment.")] | None = None  # fmt: skip
    end: Annotated[Moment, Meta(description="Until when, without it; left out: now.")] | None = None
    account: Id | None = None
    farm: Id | None = None
    kind: KindName | None = None


class UsageRecordOut(Out, frozen=True, kw_only=True):
    """Something that an account had: from `since` until `until`. Names are those that things had when it began."""

    number: Annotated[int, Meta(description="In the order in which they were begun.")]
    account: str
    kind: KindName
    thing: Annotated[str, Meta(description="Its id.")]
    name: str
    offering: Annotated[
        str, Meta(description="Its id; `root` for machines' root disks, empty where there is none.")
    ]
    farm: str
    farm_name: str
    tier: str
    tier_name: str
    cpus: int
    mib: Annotated[int, Meta(description="Of memory, or of the volume.")]
    since: datetime
    until: Annotated[datetime | None, Meta(description="null: it is there still.")]
    seconds: Annotated[
        str, Meta(description="Of it in the period, to the microsecond.", examples=["3600.000000"])
    ]


class PriceIn(In, frozen=True, kw_only=True):
    """A price of a list. What has none costs nothing."""

    kind: KindName
    amount: Price
    offering: Annotated[
        NameOrId | None,
        Meta(
            description="Of machines, or of volumes a disk offering or `root`; null: all that have no price of their own."
        ),
    ] = None


class PriceListIn(In, frozen=True, kw_only=True):
    """A new list, which holds instead of the one before. It is whole: what it does not name costs nothing."""

    prices: Annotated[tuple[PriceIn, ...], Meta(max_length=500)]
    currency: Currency | None = None
    valid_from: Annotated[
        datetime | None,
        Meta(description="Not in the past: what was used has its price. null: from now on."),
    ] = None


class PriceOut(Out, frozen=True, kw_only=True):
    """A price."""

    kind: KindName
    offering: Annotated[str, Meta(description="Its id, `root`, or empty: all others.")]
    name: Annotated[str, Meta(description="Of the offering.")]
    amount: Price


class PriceListOut(Out, frozen=True, kw_only=True):
    """A version of the price list."""

    number: int
    valid_from: datetime
    currency: str
    prices: list[PriceOut]
    in_force: bool
    user: str
    created_at: datetime


class PriceQuery(PageQuery, frozen=True, kw_only=True):
    """Lists by number."""

    after: Annotated[Number, Meta(description="`next` of the page before.")] | None = None


class BillQuery(In, frozen=True, kw_only=True):
    """Whose bill, of when: a month, or any other period."""

    account: Annotated[Id, Meta(description="null: one's own.")] | None = None
    month: Annotated[Month, Meta(description="left out: this month.")] | None = None
    begin: Annotated[Moment, Meta(description="From when, instead of a month.")] | None = None
    end: Annotated[Moment, Meta(description="Until when, without it.")] | None = None


class BillLineOut(Out, frozen=True, kw_only=True):
    """So much of a kind at one price."""

    kind: KindName
    offering: str
    name: Annotated[str, Meta(description="Of the offering.")]
    farm: str
    farm_name: str
    order: Annotated[str, Meta(description="By which the farm was made; empty: by none.")]
    reference: Annotated[str, Meta(description="Of that order: whose purchase order it is.")]
    quantity: Annotated[
        str,
        Meta(description="Hours, or of volumes GiB-months of 730 hours.", examples=["730.000000"]),
    ]
    price: Price
    amount: Amount


class BillOut(Out, frozen=True, kw_only=True):
    """What an account has used, and what it costs. Sums are exact, and rounded to six places when they are shown."""

    account: str
    account_name: str
    begin: datetime
    end: Annotated[datetime, Meta(description="Of a period that is not over, now.")]
    currency: str
    lines: list[BillLineOut]
    total: Amount


class BillListQuery(PageQuery, frozen=True, kw_only=True):
    """Bills of a month, by account."""

    month: Annotated[Month, Meta(description="left out: this month.")] | None = None


class BillSumOut(Out, frozen=True, kw_only=True):
    """What an account has to pay for a month."""

    account: str
    account_name: str
    begin: datetime
    end: datetime
    currency: str
    total: Amount


class CreditEntryIn(In, frozen=True, kw_only=True):
    """An amount to an account's favour; less than nothing takes some away."""

    amount: Booked
    kind: Literal["payment", "correction"] = "payment"
    key: Annotated[
        Plain,
        Meta(
            min_length=1,
            max_length=80,
            description="Said again it is the same entry, so that none is booked twice: the payment's own number.",
        ),
    ]
    reference: Reference = ""


class CreditLimitIn(In, frozen=True, kw_only=True):
    """How far below nothing an account may go."""

    amount: Price


class CreditEntryOut(Out, frozen=True, kw_only=True):
    """An entry; it is never changed."""

    number: int
    account: str
    key: str
    kind: Literal["payment", "correction", "use"]
    amount: Amount
    reference: str
    user: str
    at: datetime


class CreditOut(Out, frozen=True, kw_only=True):
    """What an account has paid ahead and used of it, as it is now."""

    account: str
    currency: str
    paid: Annotated[Amount, Meta(description="The sum of its entries.")]
    unbooked: Annotated[Amount, Meta(description="Used since the last month that was booked.")]
    balance: Annotated[Amount, Meta(description="The one without the other.")]
    limit: Annotated[Amount, Meta(description="So far below nothing it may go.")]
    available: Amount
    booked_until: datetime | None


class CreditQuery(PageQuery, frozen=True, kw_only=True):
    """Entries by number."""

    after: Annotated[Number, Meta(description="`next` of the page before.")] | None = None
    account: Id | None = None
