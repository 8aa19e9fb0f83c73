"""How orders and service plans look."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.billing import Amount
from arable.wire.common import Id, In, Line, Name, NameOrId, Out, PageQuery, Plain
from arable.wire.farms import FarmIn
from arable.wire.tiers import Count, PolicyIn, WindowIn

PlanKindName = Annotated[
    Literal["fixed", "autoscaling", "windows"],
    Meta(
        description="fixed: as many elements as were ordered; autoscaling: between least and most, by load; windows: at least so many at certain times."
    ),
]
OrderStateName = Literal[
    "queued", "reviewing", "approved", "provisioning", "done", "refused", "failed", "withdrawn"
]
PurchaseOrder = Annotated[
    Plain,
    Meta(
        max_length=60,
        description="The number of the customer's purchase order.",
        examples=["PO-4711"],
    ),
]
CardToken = Annotated[
    str,
    Meta(
        max_length=80,
        pattern=r"^([A-Za-z][A-Za-z0-9_.:-]*)?$(?!\n)",
        description="A token by which whoever keeps the card knows it. Never a card's number: it begins with a letter.",
        examples=["tok_1a2b3c"],
    ),
]


class PlanTierIn(In, frozen=True, kw_only=True):
    """What holds for a tier of that name; without a name, for all that have no rule of their own."""

    tier: Name | None = None
    least: Annotated[Count, Meta(description="So many elements it has at least.")] = 0
    most: Annotated[Count, Meta(description="More than that nobody orders.")] = 200
    policy: Annotated[
        PolicyIn | None, Meta(description="Of a plan that scales, where the order says none.")
    ] = None
    windows: Annotated[tuple[WindowIn, ...], Meta(max_length=20)] = ()


Rules = Annotated[tuple[PlanTierIn, ...], Meta(min_length=1, max_length=50)]


class PlanIn(In, frozen=True, kw_only=True):
    """A new service plan."""

    name: Name
    scaling: PlanKindName
    tiers: Rules = (PlanTierIn(),)
    about: Line = ""


class PlanChange(In, frozen=True, kw_only=True):
    """What to change. What was ordered by it before stays as it is."""

    tiers: Rules | UnsetType = UNSET
    about: Line | UnsetType = UNSET
    enabled: (
        Annotated[bool, Meta(description="False: nobody orders by it any more.")] | UnsetType
    ) = UNSET


class PlanOut(Out, frozen=True, kw_only=True):
    """A service plan."""

    id: Annotated[str, Meta(examples=["plan-0mh5z1x2k3q8w7e6r5t4"])]
    name: str
    scaling: PlanKindName
    tiers: list[dict[str, Any]]
    about: str
    enabled: bool
    generation: int
    created_at: datetime


class PlanQuery(PageQuery, frozen=True, kw_only=True):
    """Which plans."""

    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None


class OrderIn(In, frozen=True, kw_only=True):
    """A farm that is ordered: made, or changed where there is one of its name."""

    document: Annotated[FarmIn, Meta(description="The farm's document, as for POST /v1/farms.")]
    plan: Annotated[NameOrId | None, Meta(description="By which service plan.")] = None
    purchase_order: PurchaseOrder = ""
    card: CardToken = ""
    new_key: Annotated[
        bool,
        Meta(description="Make an SSH key that logs in; its private half is in the answer alone."),
    ] = False
    new_password: Annotated[
        bool,
        Meta(
            description="Draw a password for the default user of the farm's machines (root, of most images): one for all that "
            "are made from then on. It is in the answer alone."
        ),
    ] = False


class ReviewIn(In, frozen=True, kw_only=True):
    """What is said to whoever ordered."""

    reason: Line = ""


class OrderOut(Out, frozen=True, kw_only=True):
    """An order on its way. `least` and `most` are for an hour, with the fewest and the most elements."""

    id: Annotated[str, Meta(examples=["order-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    user: str
    name: Annotated[str, Meta(description="Of the farm.")]
    state: OrderStateName
    plan: str
    purchase_order: str
    card: str
    currency: str
    least_hour: Amount
    most_hour: Amount
    least_month: Annotated[Amount, Meta(description="Of 730 hours.")]
    most_month: Amount
    document: Annotated[dict[str, Any], Meta(description="As the plan has it.")]
    farm: str | None
    operation: str
    told: Annotated[str, Meta(description="Why it was refused, or what it waits for.")]
    reviewer: str
    keys: Annotated[list[str], Meta(description="SSH keys that log in: names or fingerprints.")]
    has_password: Annotated[
        bool, Meta(description="A password was drawn, and shown to whoever ordered.")
    ]
    promised_until: Annotated[
        datetime | None, Meta(description="For so long the room it takes is kept; null: it is not.")
    ]
    generation: int
    created_at: datetime
    ended_at: datetime | None


class OrderMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: it is evaluated next."""

    operation: str
    order: OrderOut
    private_key: Annotated[
        str | None, Meta(description="Of the new SSH key, this once; it is kept nowhere else.")
    ] = None
    password: Annotated[
        str | None, Meta(description="Of the farm's machines, this once; only its hash is kept.")
    ] = None


class OrderQuery(PageQuery, frozen=True, kw_only=True):
    """Which orders."""

    state: Annotated[tuple[OrderStateName, ...], Meta(max_length=8)] = ()
    farm: Id | None = None
    account: Id | None = None
