"""What happened, told to those whom it concerns. `account` None: to operators alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from arable.domain.ids import AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`subject` is the id of what it happened to; `number` is given by the store, and grows."""

    at: datetime
    account: AccountId | None
    kind: str  # "machine.running"
    subject: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
