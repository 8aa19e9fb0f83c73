"""How storage pools look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Id, Out, PageQuery


class PoolOut(Out, frozen=True, kw_only=True):
    """A storage pool."""

    id: Annotated[str, Meta(examples=["pool-0mh5z1x2k3q8w7e6r5t4"])]
    name: str
    kind: Annotated[
        str,
        Meta(
            description="`local`: disks of one host. `nbd`: shared with the other hosts of its pod."
        ),
    ]
    zone: str
    host: str | None
    address: Annotated[
        str, Meta(description="Of a shared one: where hosts ask for the leases of its disks.")
    ]
    total_mib: int
    used_mib: Annotated[int, Meta(description="As its host last reported.")]
    generation: int
    created_at: datetime


class PoolQuery(PageQuery, frozen=True, kw_only=True):
    """Which pools."""

    zone: Id | None = None
    host: Id | None = None
