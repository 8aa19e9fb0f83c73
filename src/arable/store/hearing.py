"""Since when somebody has been able to hear hosts, and to note that they were heard.

Only the controller that judges silence writes here, with each of its rounds. While all management servers or the
database are away, it has no rounds, so what it missed is to be seen afterwards; no clock but its own is compared.
"""

from datetime import datetime, timedelta

from sqlalchemy import insert, select, update

from arable.store import schema as t
from arable.store.database import Tx

_ONE = "hosts"


LATELY = timedelta(seconds=15)
"""Whoever notes does so more often than this."""


def steady(tx: Tx, at: datetime, span: timedelta) -> bool:
    """Whether hosts could be heard for all of that time, up to now: who is not heard by then does not come by itself."""
    row = t.hearing.c
    query = select(row.name).where(
        row.name == _ONE, row.last >= at - LATELY, row.since <= at - span
    )
    return tx.execute(query).first() is not None


def note(tx: Tx, at: datetime, longest: timedelta) -> datetime:
    """Hosts can be heard at `at`; since when, with no break longer than `longest`."""
    row = t.hearing.c
    found = tx.execute(
        select(row.since, row.last).where(row.name == _ONE).with_for_update()
    ).first()
    if found is None:
        tx.execute(insert(t.hearing).values(name=_ONE, since=at, last=at))
        return at
    since: datetime = at if at - found.last > longest else found.since
    tx.execute(update(t.hearing).where(row.name == _ONE).values(since=since, last=at))
    return since
