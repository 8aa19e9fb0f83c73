"""What a customer may wish about where machines stand in relation to others, and to hosts."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from arable.domain.ids import AccountId, GroupId


class Strategy(StrEnum):
    """What makes one host that fits better than another."""

    SPREAD = "spread"
    PACK = "pack"


class GroupRule(StrEnum):
    """What members of a placement group want of each other."""

    APART = "apart"
    TOGETHER = "together"


@dataclass(frozen=True, slots=True)
class Placement:
    """What a machine wants of its host. `tags` are its owner's wish, `required` those of its offering."""

    tags: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    strategy: Strategy = Strategy.SPREAD

    @property
    def all_tags(self) -> frozenset[str]:
        """Every tag that the host must carry."""
        return frozenset((*self.tags, *self.required))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A placement group. Not strict: a preference, given up when nothing else fits."""

    id: GroupId
    account: AccountId
    name: str
    rule: GroupRule
    strict: bool = True
    created_at: datetime
