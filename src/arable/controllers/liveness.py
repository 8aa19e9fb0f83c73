"""Hosts that were not heard for too long are silent: nothing new is placed there, and what runs there is left alone."""

from datetime import datetime, timedelta

from arable.domain.event import Event
from arable.domain.settings import HOST_SILENT_SECONDS
from arable.store import events, settings, sights
from arable.store.database import Tx


def watch(tx: Tx, at: datetime) -> int:
    """One round; how many hosts fell silent."""
    silent = sights.silence(tx, at - timedelta(seconds=settings.get(tx, HOST_SILENT_SECONDS)))
    events.add_many(
        tx,
        [
            Event(at=at, account=None, kind="host.silent", subject=id_, text=f"{name} is silent")
            for id_, name in silent
        ],
    )
    return len(silent)
