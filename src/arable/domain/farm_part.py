"""A farm's part in another region: what it should be there, and how that stands (docs/decisions/0044)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from arable.domain.ids import AccountId, FarmId

REMEMBERED = timedelta(days=7)
"""For so long a part that went is known to have been let go: no call is that late."""

_SOON, _CALM, _LATER, _LONGEST = 3, 30, 60, 60


class PartState(StrEnum):
    """Of a farm's part, as its home region knows it."""

    WAITS = "waits"  # it was not told yet
    REFUSED = "refused"  # it was, and won't
    CHANGING = "changing"
    READY = "ready"
    LEAVING = "leaving"
    GONE = "gone"  # nothing is left of it
    UNKNOWN = "unknown"  # that region has no such part: it never heard of it, or lost it


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmPart:
    """As the home region keeps it.

    `version` counts what was asked for: of two, the larger is the later one, also when a store was set back since. `acked`
    is what the other region knows. `spec` is what it should be; `gone`: it is to go. `seen` is what it told last. `keyed_at`: when its
    links were given the keys that they have, or are about to have.
    """

    farm: FarmId
    region: str
    account: AccountId
    version: int
    spec: Mapping[str, Any]
    gone: bool = False
    acked: int = 0
    seen: Mapping[str, Any] = field(default_factory=dict)
    state: PartState = PartState.WAITS
    told: str = ""
    tries: int = 0
    due_at: datetime
    heard_at: datetime | None = None
    keyed_at: datetime | None = None

    @property
    def turns(self) -> bool:
        """Whether an end of its links there is about to have another key, or knows that the other one is."""
        return any(
            each.get("next_key") or each.get("known") for each in self.seen.get("links", ())
        ) or any(each.get("next_key") for each in self.spec.get("links", ()))

    @property
    def settled(self) -> bool:
        """Whether it is as it should be."""
        same = self.acked == self.version and not self.turns
        return same and self.state is PartState.READY and not self.gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """A farm here that is a part of one of another region, by that region's name and the farm's id there."""

    region: str
    home: str
    account: AccountId
    farm: FarmId | None = None  # none was made
    version: int
    gone: bool = False
    changed_at: datetime


def again_after(state: PartState, tries: int) -> timedelta:
    """When its region is asked again: soon while something goes on, seldom when nothing does; later after each try in vain."""
    if tries:
        return timedelta(seconds=min(_SOON * 2 ** min(tries - 1, 10), _LONGEST))
    if state is PartState.REFUSED:
        return timedelta(seconds=_LATER)
    return timedelta(seconds=_CALM if state is PartState.READY else _SOON)
