"""A tier of a farm: a wish for so many elements, all made of one release.

`count` is how many there should be now. The farm's owner, a policy (domain/scaling.py) and a window may change it, within
`least` and `most`; elements follow. Beside those that serve, some may be kept ready (docs/decisions/0067).
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import (
    AccountId,
    BalancerId,
    BlueprintId,
    FarmId,
    ImageId,
    NetworkId,
    OfferingId,
    TierId,
    ZoneId,
)
from arable.domain.scaling import Policy, Window


@dataclass(frozen=True, slots=True)
class Release:
    """What elements are made of: a version of the tier's blueprint, and one of that version's image."""

    blueprint: int
    image: int


class Follows(StrEnum):
    """When a tier gets another version of its image."""

    NEWEST = "newest"  # as soon as there is one
    ASKED = "asked"  # when its image is rolled out
    PINNED = "pinned"  # when its own document says so, and not otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A balancer by which elements are reached, and the port at which they are its members."""

    balancer: BalancerId
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What else a tier is. Its elements have a port on each network, the first of which is their way out."""

    networks: tuple[NetworkId, ...]
    doors: tuple[Door, ...] = ()
    offering: OfferingId | None = None  # instead of the blueprint's
    keys: tuple[str, ...] = ()  # SSH keys of the account, by id
    follows: Follows = Follows.ASKED
    newest: bool = False  # of its blueprint it has the newest version, as of its image with NEWEST
    policy: Policy | None = None
    windows: tuple[Window, ...] = ()
    time_zone: str = "UTC"  # of its windows
    standby: int = 0  # so many more are kept ready, if `most` leaves room for them


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """As it is kept. After something was refused (`told`) it is tried again at `again_at`, later with each of `tries`.

    While something is under way it is looked at no later than `due_at`; at rest only when something happens.
    """

    id: TierId
    farm: FarmId
    account: AccountId
    zone: ZoneId
    name: str
    blueprint: BlueprintId
    blueprint_number: int
    image: ImageId
    image_version: int
    least: int
    most: int
    count: int
    body: Body
    automatic: bool = False  # what it follows is rolled out by itself
    attention: bool = True
    leaving: bool = False  # its document no longer names it
    again_at: datetime | None = None
    due_at: datetime | None = None
    tries: int = 0
    told: str = ""
    generation: int = 1
    created_at: datetime

    @property
    def release(self) -> Release:
        """What its elements should be made of."""
        return Release(self.blueprint_number, self.image_version)

    def changed(self, **but: Any) -> "Tier":
        """The same tier with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)
