"""A farm: the customer's private data centre. Every machine and network is in exactly one."""

from dataclasses import dataclass
from datetime import datetime

from arable.domain.ids import AccountId, FarmId, ZoneId

DEFAULT = "default"
"""The name of the farm and of the network that an account gets in a zone on first use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Farm:
    """A farm of an account in a zone."""

    id: FarmId
    account: AccountId
    zone: ZoneId
    name: str
    generation: int = 1
    created_at: datetime
