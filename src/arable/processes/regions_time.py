"""By what processes that work with a database tell the time (docs/decisions/0049).

Where others share the database, by that one's clock: what servers, grid managers and commands write is compared with
what others wrote. With SQLite there is one process, and its machine's clock is the database's.
"""

import asyncio
import contextlib

from arable.domain.errors import CloudError
from arable.runtime.clock import Clock
from arable.runtime.shared_clock import SharedClock
from arable.store import leases
from arable.store.database import Database, Tx

AGAIN_SECONDS = 30.0
"""Between two looks at the database's clock by who has no heartbeats: monotonic clocks differ by a hundredth at most."""


def regions_time(database: Database, own: Clock) -> Clock:
    """The database's, where others share it."""
    if database.is_sqlite:
        return own
    made = SharedClock(own)
    hear(database, made)
    return made


def time_in(tx: Tx, own: Clock) -> Clock:
    """The same within a transaction that is open already."""
    if tx.dialect.name == "sqlite":
        return own
    made = SharedClock(own)
    _heard(tx, made)
    return made


def hear(database: Database, clock: SharedClock) -> None:
    """What the time is there. Raises `CloudError` if it can't be reached."""
    with database.read() as tx:
        _heard(tx, clock)


def _heard(tx: Tx, clock: SharedClock) -> None:
    asked = clock.monotonic()
    clock.heard(leases.now(tx, clock.now()), asked, clock.monotonic())


async def keep_hearing(database: Database, clock: Clock) -> None:
    """Ask again and again, until cancelled; a database that is away is asked the next time."""
    while isinstance(clock, SharedClock):
        await asyncio.sleep(AGAIN_SECONDS)
        with contextlib.suppress(CloudError):
            await asyncio.to_thread(hear, database, clock)
