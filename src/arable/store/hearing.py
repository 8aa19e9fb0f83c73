"""Since when somebody has been able to hear hosts, and to note that they were heard.

Only the controller that judges silence writes here, with each of its rounds. While all management servers or the
database are away, it has no rounds, so what it missed is to be seen afterwards; no clock but its own is compared.
"""

from datetime import datetime, timedelta

from sqlalchemy import bindparam, insert, select, update

from arable.store import schema as t
from arable.store.database import Tx

_ONE = "hosts"


LATELY = timedelta(seconds=15)
"""Whoever notes does so more often than this."""


_h = t.hearing.c
_STEADY = select(_h.name).where(
    _h.name == _ONE, _h.last >= bindparam("lately"), _h.since <= bindparam("before")
)
_FOUND = select(_h.since, _h.last).where(_h.name == _ONE).with_for_update()
_NOTED = (
    update(t.hearing).where(_h.name == _ONE).values(since=bindparam("began"), last=bindparam("now"))
)


def steady(tx: Tx, at: datetime, span: timedelta) -> bool:
    """Whether hosts could be heard for all of that time, up to now: who is not heard by then does not come by itself."""
    return tx.execute(_STEADY, {"lately": at - LATELY, "before": at - span}).first() is not None


def note(tx: Tx, at: datetime, longest: timedelta) -> datetime:
    """Hosts can be heard at `at`; since when, with no break longer than `longest`."""
    found = tx.execute(_FOUND).first()
    if found is None:
        tx.execute(insert(t.hearing).values(name=_ONE, since=at, last=at))
        return at
    since: datetime = at if at - found.last > longest else found.since
    tx.execute(_NOTED, {"began": since, "now": at})
    return since
