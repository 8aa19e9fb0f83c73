"""How limits over all regions look."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from arable.wire.accounts import Limit
from arable.wire.common import In, Out, Plain
from arable.wire.grid_sums import PathOfAccount


class GridLimitsIn(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays. Null: no limit over all regions."""

    path: PathOfAccount
    machines: Limit | UnsetType | None = UNSET
    cpus: Limit | UnsetType | None = UNSET
    memory_mib: Limit | UnsetType | None = UNSET
    volumes: Limit | UnsetType | None = UNSET
    storage_mib: Limit | UnsetType | None = UNSET
    snapshots: Limit | UnsetType | None = UNSET
    snapshot_mib: Limit | UnsetType | None = UNSET
    networks: Limit | UnsetType | None = UNSET
    addresses: Limit | UnsetType | None = UNSET


class GridLimitQuery(In, frozen=True, kw_only=True):
    """Which accounts."""

    path: PathOfAccount | None = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many at most on this page.")] = 100
    after: (
        Annotated[Plain, Meta(max_length=700, description="`next` of the page before.")] | None
    ) = None


class GridShareOut(Out, frozen=True, kw_only=True):
    """What a region was granted, and uses of it as it said last; null: it tells nobody."""

    region: str
    share: dict[str, int]
    used: dict[str, int] | None


class GridLimitOut(Out, frozen=True, kw_only=True):
    """What an account may hold in all regions together, and which shares of it they have."""

    path: str
    limits: Annotated[dict[str, int], Meta(description="Of what is limited.")]
    shares: Annotated[
        tuple[GridShareOut, ...], Meta(description="At the grid manager; else empty.")
    ]
    changed_at: datetime | None
