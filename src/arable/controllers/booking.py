"""Months of use are booked to those who pay ahead, some time after they are over; the entries' keys see to it that it is once."""

from datetime import datetime, timedelta
from typing import Protocol

from arable.domain.ids import AccountId
from arable.store import credit_entries
from arable.store.database import Tx

SECONDS = 600
MOST = 50
"""Accounts of one round."""
_REST = timedelta(
    hours=1
)  # until everything that ended with the month was written, by whatever clock


class Hands(Protocol):
    """What can be asked for accounts."""

    def book(self, tx: Tx, account: AccountId, until: datetime) -> None:
        """Its use until then becomes entries; what was booked already stays as it is."""


def attend(hands: Hands, tx: Tx, at: datetime) -> int:
    """One round; how many accounts were booked."""
    month = (at - _REST).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found = credit_entries.to_book(tx, month, MOST)
    for account in found:
        hands.book(tx, account, month)
    return len(found)
