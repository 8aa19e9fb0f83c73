"""How volumes look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Id, Out, PageQuery


class VolumeOut(Out, frozen=True, kw_only=True):
    """A disk of a machine."""

    id: str
    account: str
    zone: str
    machine: str | None
    position: Annotated[int, Meta(description="0: the machine's root disk.")]
    name: str
    mib: int
    iops: Annotated[int, Meta(description="0: no limit.")]
    bytes_per_second: Annotated[int, Meta(description="0: no limit.")]
    shared: Annotated[bool, Meta(description="Whether other hosts can reach it, too.")]
    placed: Annotated[bool, Meta(description="Whether it is on a storage pool yet.")]
    pool: Annotated[
        str | None, Meta(description="Which one; only told to those who may see hosts.")
    ] = None
    erasing: bool
    generation: int
    created_at: datetime


class VolumeQuery(PageQuery, frozen=True, kw_only=True):
    """Which volumes."""

    zone: Id | None = None
    machine: Id | None = None
    account: Id | None = None
