"""How domains, accounts and their limits look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Id, In, Name, Out, PageQuery, Password

Limit = Annotated[
    int,
    Meta(ge=0, le=1_000_000_000, description="The most that the account may hold; null: no limit."),
]

PortKbps = Annotated[
    int,
    Meta(
        ge=1,
        le=400_000_000,
        description=(
            "The most that any port of its machines sends, and receives, in kbit/s, whatever their "
            "offerings say; null: no limit of the account's. Machines that run have it at once."
        ),
        examples=[50_000],
    ),
]


class DomainIn(In, frozen=True, kw_only=True):
    """A new domain."""

    name: Name
    parent: (
        Annotated[Id, Meta(description="Below which domain; the caller's own if left out.")] | None
    ) = None


class DomainOut(Out, frozen=True, kw_only=True):
    """A domain: it holds accounts and further domains."""

    id: Annotated[str, Meta(examples=["domain-0mh5z1x2k3q8w7e6r5t4"])]
    parent: str | None
    path: Annotated[str, Meta(examples=["root/acme/labs"])]
    name: str
    generation: int
    created_at: datetime


class DomainQuery(PageQuery, frozen=True, kw_only=True):
    """Which domains."""

    parent: Id | None = None
    name: Name | None = None


class LimitsChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays. Null: no limit."""

    machines: Limit | UnsetType | None = UNSET
    cpus: Limit | UnsetType | None = UNSET
    memory_mib: Limit | UnsetType | None = UNSET
    volumes: Limit | UnsetType | None = UNSET
    storage_mib: Limit | UnsetType | None = UNSET
    snapshots: Limit | UnsetType | None = UNSET
    snapshot_mib: Limit | UnsetType | None = UNSET
    networks: Limit | UnsetType | None = UNSET
    addresses: Limit | UnsetType | None = UNSET
    network_kbps: PortKbps | UnsetType | None = UNSET


class LimitOut(Out, frozen=True, kw_only=True):
    """Of one resource."""

    used: int
    limit: Annotated[int | None, Meta(description="Null: no limit.")]
    everywhere: Annotated[
        int | None, Meta(description="Limit over all regions of the grid. Null: none.")
    ] = None
    share: Annotated[
        int | None,
        Meta(
            description="This region's share of that limit now. More is asked for when it is needed."
        ),
    ] = None


class LimitsOut(Out, frozen=True, kw_only=True):
    """What an account holds and may hold."""

    account: str
    machines: LimitOut
    cpus: LimitOut
    memory_mib: LimitOut
    volumes: LimitOut
    storage_mib: LimitOut
    snapshots: LimitOut
    snapshot_mib: LimitOut
    networks: LimitOut
    addresses: LimitOut
    network_kbps: Annotated[
        int | None,
        Meta(
            description="The most that any port of its machines sends, and receives; null: no limit of the account's."
        ),
    ]


class FirstUserIn(In, frozen=True, kw_only=True):
    """The first user of a new account."""

    name: Name
    password: Password | None = None
    role: Name = "customer"


class AccountIn(In, frozen=True, kw_only=True):
    """A new account, with its first user if one is described."""

    name: Name
    domain: (
        Annotated[Id, Meta(description="In which domain; the caller's own if left out.")] | None
    ) = None
    limits: Annotated[
        LimitsChange,
        Meta(description="Where they differ from the cloud's defaults for new accounts."),
    ] = LimitsChange()
    user: FirstUserIn | None = None


class AccountChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays."""

    name: Name | UnsetType = UNSET
    enabled: (
        Annotated[bool, Meta(description="False: its users are not let in; what it runs, runs on.")]
        | UnsetType
    ) = UNSET


class AccountOut(Out, frozen=True, kw_only=True):
    """An account: it owns machines, networks and the rest."""

    id: Annotated[str, Meta(examples=["account-0mh5z1x2k3q8w7e6r5t4"])]
    domain: str
    name: str
    enabled: bool
    federated: Annotated[
        tuple[str, ...],
        Meta(description="Regions whose account of the same path may act as this one here."),
    ] = ()
    generation: int
    created_at: datetime
    user: Annotated[
        str | None, Meta(description="Its first user, in the answer to its creation alone.")
    ] = None


class AccountQuery(PageQuery, frozen=True, kw_only=True):
    """Which accounts."""

    domain: Id | None = None
    name: Name | None = None
    enabled: bool | None = None
