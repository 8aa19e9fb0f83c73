"""Hosts that were not heard for too long are silent: nothing new is placed there, and what runs there is left alone.

A host can only be heard while a management server is there to hear it, and a database to note it in. After a time
without, it is given as long to speak as any other, counted from when it could first be heard again.
"""

from datetime import datetime, timedelta

from arable.domain.event import Event
from arable.domain.settings import HOST_SILENT_SECONDS
from arable.store import alerts, events, hearing, settings, sights
from arable.store.database import Tx
from arable.store.nudges import nudge

SECONDS = 5
"""Between rounds."""


def watch(tx: Tx, at: datetime) -> int:
    """One round; how many hosts fell silent."""
    limit = timedelta(seconds=settings.get(tx, HOST_SILENT_SECONDS))
    # Rounds are a few seconds apart while anybody is there: a longer break is one in which hosts may have spoken in
    # vain. One that is short to the limit takes little of a host's time, and agents that lost their server for so long
    # come back sooner than that.
    since = hearing.note(tx, at, max(limit / 2, timedelta(seconds=1.5 * SECONDS)))
    if at - since < limit:
        return 0
    silent = sights.silence(tx, at - limit)
    events.add_many(
        tx,
        [
            Event(at=at, account=None, kind="host.silent", subject=id_, text=f"{name} is silent")
            for id_, name in silent
        ],
    )
    if silent:
        nudge(tx, alerts.TOPIC)
    return len(silent)
