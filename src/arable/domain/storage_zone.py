"""A storage zone: the part of a data centre's storage that the machines of one farm reach, or of some farms.

Each farm has one of its own, called by the farm's id and kept nowhere. One that several farms of an account share is
made by itself, and has a name (docs/decisions/0039).
"""

from dataclasses import dataclass
from datetime import datetime

from arable.domain.ids import AccountId, StorageZoneId, ZoneId

MOST = 200
"""Of an account in a zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageZone:
    """One that farms share."""

    id: StorageZoneId
    account: AccountId
    zone: ZoneId
    name: str
    generation: int = 1
    created_at: datetime
