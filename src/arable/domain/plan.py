"""Service plans: what an operator offers to whoever orders a farm."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import PlanId


class PlanKind(StrEnum):
    """What may change by itself in a farm of the plan."""

    FIXED = "fixed"  # nothing: as many elements as were ordered
    AUTOSCALING = "autoscaling"  # between the least and the most, by load
    WINDOWS = "windows"  # at least so many at certain times


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """As it is kept; `rules` are its tiers', in the form of the API."""

    id: PlanId
    name: str
    kind: PlanKind
    rules: Mapping[str, Any]
    about: str = ""
    enabled: bool = True
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "ServicePlan":
        """The same plan with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)
