"""What is kept for a time only, and thrown away after it: answers for repetition, sessions that are over."""

from datetime import datetime

from arable.services.execution import KEPT
from arable.store import idempotency, keys
from arable.store.database import Tx


def sweep(tx: Tx, now: datetime) -> int:
    """Throw away what is over; how many rows."""
    return idempotency.expire(tx, now - KEPT) + keys.expire_sessions(tx, now)
