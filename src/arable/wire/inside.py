"""How the cloud looks from inside a farm: to a program in one of its elements."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import In, Name, Out
from arable.wire.machines import Mib
from arable.wire.rights import RightName
from arable.wire.tiers import Count, LoadOut


class InsideTokenIn(In, frozen=True, kw_only=True):
    """A token is asked for."""

    seconds: Annotated[int, Meta(ge=60, le=3600, description="How long it counts.")] = 900
    rights: Annotated[
        tuple[RightName, ...] | None, Meta(description="null: all that the blueprint gives.")
    ] = None


class InsideTokenOut(Out, frozen=True, kw_only=True):
    """A token for the element that asked; it dies with its machine."""

    token: str | None
    rights: list[str]
    until: datetime


class InsideTierOut(Out, frozen=True, kw_only=True):
    """A tier of one's own farm in short."""

    name: str
    count: Annotated[int, Meta(description="So many there should be now.")]
    serving: Annotated[int, Meta(description="So many take part.")]


class InsideDiskOut(Out, frozen=True, kw_only=True):
    """A further disk of one's own machine, in the order of its blueprint."""

    name: str
    mib: int


class SelfOut(Out, frozen=True, kw_only=True):
    """Who one is."""

    element: str
    name: str
    number: int
    state: str
    farm: str
    tier: str
    least: int
    most: int
    count: int
    serving: int
    load: Annotated[
        LoadOut | None, Meta(description="What the tier bears, as far as it is known now.")
    ]
    tiers: list[InsideTierOut]
    disks: list[InsideDiskOut]
    rights: list[str]


class OwnTierIn(In, frozen=True, kw_only=True):
    """More or fewer elements in one's own tier: say one of both."""

    count: Annotated[Count | None, Meta(description="So many there should be.")] = None
    more: Annotated[
        Annotated[int, Meta(ge=-200, le=200)] | None,
        Meta(description="So many more than there should be now; fewer, if negative."),
    ] = None


class OwnTierOut(Out, frozen=True, kw_only=True):
    """Accepted: elements follow."""

    count: int
    operation: str


class OwnDiskIn(In, frozen=True, kw_only=True):
    """A further disk of one's own is to be larger."""

    disk: Annotated[Name, Meta(description="As the blueprint calls it.", examples=["data"])]
    mib: Mib


class OwnDiskOut(Out, frozen=True, kw_only=True):
    """Accepted: the guest sees it in a moment."""

    disk: str
    mib: int
    operation: str
