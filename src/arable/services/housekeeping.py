"""What is kept for a time only, and thrown away after it: answers for repetition, sessions and alerts that are over."""

from datetime import datetime, timedelta

from arable.services.execution import KEPT
from arable.store import alerts, idempotency, keys
from arable.store.database import Tx

ALERTS_KEPT = timedelta(days=90)
"""How long one can look up an alert that has ended."""


def sweep(tx: Tx, now: datetime) -> int:
    """Throw away what is over; how many rows."""
    over = idempotency.expire(tx, now - KEPT) + keys.expire_sessions(tx, now)
    return over + alerts.expire(tx, now - ALERTS_KEPT)
