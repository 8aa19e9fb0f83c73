"""Credit: what an account has paid ahead, and how far it may go without."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from arable.domain.ids import AccountId


class EntryKind(StrEnum):
    """Why an entry was made."""

    PAYMENT = "payment"
    CORRECTION = "correction"
    USE = "use"  # a month's bill


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditEntry:
    """Never changed; a mistake is put right by another one. `key`: said again, it is the same entry."""

    number: int = 0
    account: AccountId
    key: str
    kind: EntryKind
    micros: int  # more than nothing: to the account's favour
    reference: str
    user: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Of one account: how far below nothing it may go, and up to when its use is in its entries."""

    account: AccountId
    most: int = 0
    booked_until: datetime | None = None
