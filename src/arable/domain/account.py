"""Whose things are whose: a tree of domains, and accounts in it. An account owns; a domain only holds accounts."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from arable.domain.ids import AccountId, DomainId

DEEPEST = 8
"""Domains below each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """`path` is the names from the root to here, such as `root/acme/labs`; it never changes."""

    id: DomainId
    parent: DomainId | None
    path: str
    name: str
    generation: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who owns machines, networks and the rest, and whose limits count. Disabled: its users are not let in.

    `federated` names the regions in which an account of the same path is this one: its users may ask from there.
    """

    id: AccountId
    domain: DomainId
    name: str
    enabled: bool = True
    federated: tuple[str, ...] = ()
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> Self:
        """The next generation."""
        return replace(self, generation=self.generation + 1, **but)
