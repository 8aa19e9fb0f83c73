"""Sums up what machines did to zones' idle pools (`store/idle_pool.py`), and lets old hours go."""

from datetime import datetime

from arable.store import idle_pool
from arable.store.database import Tx

SECONDS = 15
MOST = 5_000
"""Notes of one round."""


def attend(tx: Tx, at: datetime) -> int:
    """One round; how many notes were summed up. Call again at once when it is `MOST`."""
    done = idle_pool.fold(tx, MOST)
    if done:
        idle_pool.forget(tx, at - idle_pool.KEPT)
    return done
