"""The asynchronous rest of a call: how many of its parts are settled, what happened on the way, how it ended."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.failure import Failure
from arable.domain.ids import AccountId, OperationId, UserId


class OperationState(StrEnum):
    """`running` becomes one of the others when nothing is pending, once."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened on the way."""

    at: datetime
    text: str


def placed(machines: int) -> str:
    """The step of so many machines having found their hosts."""
    return "placed, starting" if machines == 1 else f"{machines} placed, starting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`error` may be there before the end: some parts failed, others are still pending."""

    id: OperationId
    account: AccountId
    user: UserId
    kind: str
    target: str = ""
    state: OperationState = OperationState.RUNNING
    total: int = 1
    pending: int = 1
    steps: tuple[Step, ...] = ()
    result: Any = None
    error: Failure | None = None
    created_at: datetime
    changed_at: datetime
