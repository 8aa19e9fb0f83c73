"""How snapshots look outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from arable.wire.common import Id, In, Name, Out, PageQuery

SnapshotStateName = Literal["creating", "available", "restoring", "deleting"]


class SnapshotIn(In, frozen=True, kw_only=True):
    """Which volume to keep as it is now."""

    name: Annotated[Name, Meta(description="Unique in account and zone.")]
    volume: Annotated[
        Id,
        Meta(
            description="Whether a machine has it or not, and whether that runs or not. "
            "It has to be on a storage pool: a machine must have had it once."
        ),
    ]


class SnapshotOut(Out, frozen=True, kw_only=True):
    """What was on a volume at one moment."""

    id: str
    account: str
    zone: str
    name: str
    volume: str
    mib: Annotated[
        int, Meta(description="What the volume had then. So much it counts against limits.")
    ]
    state: SnapshotStateName
    operation: Annotated[str | None, Meta(description="That waits for what is under way.")] = None
    told: Annotated[str, Meta(description="Why what is under way is not over yet.")] = ""
    generation: int
    created_at: datetime


class SnapshotMadeOut(Out, frozen=True, kw_only=True):
    """A snapshot that is about to be taken."""

    snapshot: SnapshotOut
    operation: Annotated[str, Meta(description="That is done when it is there.")]


class SnapshotQuery(PageQuery, frozen=True, kw_only=True):
    """Which snapshots."""

    volume: Id | None = None
    zone: Id | None = None
    account: Id | None = None
    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
