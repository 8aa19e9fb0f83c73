"""How sums of all regions look: what accounts hold, and what it costs, with how old each region's word is."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.billing import Month
from arable.wire.common import PATH_PATTERN, In, Out, Plain
from arable.wire.regions import RegionName, StateOfRegion

PathOfAccount = Annotated[
    str,
    Meta(
        max_length=600,
        pattern=PATH_PATTERN,
        description="An account by its path, which means the same in every region.",
        examples=["root/acme/acme"],
    ),
]
_After = Annotated[
    Plain,
    Meta(max_length=1000, description="`next` of the page before; without it, the first page."),
]
_Limit = Annotated[int, Meta(ge=1, le=1000, description="How many at most on this page.")]


class GridSumQuery(In, frozen=True, kw_only=True):
    """Which accounts, in which region."""

    account: PathOfAccount | None = None
    region: RegionName | None = None
    limit: _Limit = 100
    after: _After | None = None


class GridBillQuery(In, frozen=True, kw_only=True):
    """Which bills."""

    month: Annotated[Month, Meta(description="By UTC; this one if left out.")] | None = None
    account: PathOfAccount | None = None
    region: RegionName | None = None
    limit: _Limit = 100
    after: _After | None = None


class RegionAge(Out, frozen=True, kw_only=True):
    """How old what is known of a region is."""

    region: str
    state: StateOfRegion
    as_of: Annotated[
        datetime | None,
        Meta(description="When it was last heard; what is shown of it is no newer."),
    ]
    told: Annotated[str, Meta(description="How old this is, where that matters.")]


class GridBillOut(Out, frozen=True, kw_only=True):
    """What an account's use of a month comes to in a region."""

    region: str
    account: str
    month: str
    total: Annotated[str, Meta(description="Exact, as that region reckoned it at `as_of`.")]
    currency: str
    as_of: datetime


class RegionBill(RegionAge, frozen=True, kw_only=True):
    """A region's part. For operators with the sum of all its accounts, told or not; null: it told none."""

    total: str | None = None
    currency: str = ""


class CurrencySum(Out, frozen=True, kw_only=True):
    """Regions may have several currencies; nothing is converted."""

    currency: str
    total: str


class GridBillsOut(Out, frozen=True, kw_only=True):
    """Bills of a month in all regions. A region that can't be reached is named here with its age like any other."""

    month: str
    items: tuple[GridBillOut, ...]
    next: Annotated[str | None, Meta(description="Pass it as `after`; null: no more.")] = None
    regions: tuple[RegionBill, ...]
    sums: Annotated[
        tuple[CurrencySum, ...],
        Meta(
            description="For operators what the regions' totals come to; else what the items of this page do."
        ),
    ]


class GridHeldOut(Out, frozen=True, kw_only=True):
    """What an account holds in a region, and may hold there."""

    region: str
    account: str
    enabled: bool
    used: dict[str, int]
    limits: Annotated[dict[str, int | None], Meta(description="Null: no limit of that region.")]


class GridAccountsOut(Out, frozen=True, kw_only=True):
    """What accounts hold in all regions."""

    items: tuple[GridHeldOut, ...]
    next: Annotated[str | None, Meta(description="Pass it as `after`; null: no more.")] = None
    regions: tuple[RegionAge, ...]


class GridEventQuery(In, frozen=True, kw_only=True):
    """Which events."""

    region: RegionName | None = None
    limit: _Limit = 100


class GridEventOut(Out, frozen=True, kw_only=True):
    """What happened in a region, for operators."""

    region: str
    number: Annotated[int, Meta(description="Its number in that region.")]
    at: datetime
    kind: str
    subject: str
    text: str


class GridEventsOut(Out, frozen=True, kw_only=True):
    """The newest events of all regions that tell theirs, the newest first."""

    items: tuple[GridEventOut, ...]
    regions: tuple[RegionAge, ...]
