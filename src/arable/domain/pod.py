"""A pod: hosts behind the same switches, with a management subnet of their own."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from arable.domain.ids import PodId, ZoneId


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """`cidr` is the management subnet of its hosts."""

    id: PodId
    zone: ZoneId
    name: str
    cidr: str
    gateway: str = ""
    enabled: bool = True
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Pod":
        """The same pod with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)
