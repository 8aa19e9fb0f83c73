"""An order: a farm that somebody asked for, on its way through evaluation, review and a check of credit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import AccountId, FarmId, OperationId, OrderId, UserId, ZoneId
from arable.domain.lifecycle import table


class OrderState(StrEnum):
    """How far it is."""

    QUEUED = "queued"  # to be evaluated
    REVIEWING = "reviewing"  # a person has to look at it
    APPROVED = "approved"  # its credit is to be checked
    PROVISIONING = "provisioning"
    DONE = "done"
    REFUSED = "refused"  # nothing of it was made
    FAILED = "failed"  # something of it may have been made
    WITHDRAWN = "withdrawn"


class OrderEvent(StrEnum):
    """What happens to it."""

    HOLD = "hold"  # it can be done, and is to be reviewed
    CLEAR = "clear"  # it can be done
    APPROVE = "approve"
    REFUSE = "refuse"
    BEGIN = "begin"  # there is credit: its farm is applied
    FINISH = "finish"
    FAIL = "fail"
    WITHDRAW = "withdraw"


_S, _E = OrderState, OrderEvent
ORDER = table(
    _S.QUEUED,
    {_S.DONE, _S.REFUSED, _S.FAILED, _S.WITHDRAWN},
    #  while             this happens   it becomes
    (_S.QUEUED, _E.HOLD, _S.REVIEWING),
    (_S.QUEUED, _E.CLEAR, _S.APPROVED),
    (_S.QUEUED, _E.REFUSE, _S.REFUSED),
    (_S.QUEUED, _E.WITHDRAW, _S.WITHDRAWN),
    (_S.REVIEWING, _E.APPROVE, _S.APPROVED),
    (_S.REVIEWING, _E.REFUSE, _S.REFUSED),
    (_S.REVIEWING, _E.WITHDRAW, _S.WITHDRAWN),
    (_S.APPROVED, _E.BEGIN, _S.PROVISIONING),
    (_S.APPROVED, _E.REFUSE, _S.REFUSED),
    (_S.APPROVED, _E.WITHDRAW, _S.WITHDRAWN),
    (_S.PROVISIONING, _E.FINISH, _S.DONE),
    (_S.PROVISIONING, _E.FAIL, _S.FAILED),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What it costs for an hour, in micro-units: with as many elements as it begins with, and as it may have at most."""

    currency: str = ""
    least: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the elements that an order begins with take of a zone."""

    zone: ZoneId
    machines: int = 0
    cpus: int = 0
    cpu_mhz: int = 0
    memory_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise(Room):
    """Room that is kept for an order until then, or until machines of its `farm` have it."""

    order: OrderId
    account: AccountId
    farm: FarmId | None = None
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """As it is kept. `purchase_order` and `card` are what these are called elsewhere, and no secrets.

    `password` is a hash, which its machines are given.
    """

    id: OrderId
    account: AccountId
    user: UserId
    name: str
    state: OrderState = OrderState.QUEUED
    document: Mapping[str, Any]
    plan: str = ""
    purchase_order: str = ""
    card: str = ""
    estimate: Estimate = field(default_factory=Estimate)
    farm: FarmId | None = None
    work: OperationId | None = None
    told: str = ""
    reviewer: str = ""
    keys: tuple[str, ...] = ()
    password: str = field(default="", repr=False)
    operation: OperationId
    generation: int = 1
    created_at: datetime
    ended_at: datetime | None = None

    def after(self, event: OrderEvent, at: datetime, **but: Any) -> "Order":
        """The same order one event later; raises `Conflict` when the event can't happen now."""
        state = ORDER.next(self.state, event)
        ended = at if state in ORDER.final else None
        return replace(self, state=state, generation=self.generation + 1, ended_at=ended, **but)
