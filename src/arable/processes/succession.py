"""One database of a cloud at a time: what a server finds out about its own before it works with it, and while it does.

Databases take each other's place: a backup is restored, a replica promoted, PostgreSQL recovered to an earlier time.
Each time a new name is drawn, by whoever comes first, and hosts are asked what they run before anything is done
(docs/decisions/0005). An earlier one that comes back is refused by every host that was told by the later one, and the
first host that says so to its servers ends them: a split brain has one half that acts.
"""

import asyncio
import logging

from arable.domain.errors import CloudError, Conflict
from arable.runtime import succession
from arable.runtime.ca import Authority
from arable.runtime.clock import Clock
from arable.runtime.entropy import Ids
from arable.store import incarnations, migrate, restore
from arable.store.database import Database

log = logging.getLogger(__name__)

_EVERY = 2.0


def take_over(database: Database, authority: Authority, clock: Clock, ids: Ids) -> str:
    """The database's name now; a new one if it was promoted or recovered since it got its last.

    Raises `Conflict` for one that was given up.
    """
    with database.write() as tx:
        migrate.one_at_a_time(tx)
        found = incarnations.standing(tx)
        here = incarnations.place(tx)
        if not found.name:
            return ""
        if found.place and found.place != here:
            name = succession.drawn(authority, ids, after=max(found.name, found.superseded_by))
            log.warning("%s was promoted or recovered: it is %s from now on", found.name, name)
            restore.renew(tx, name, clock.now())
            return name
        if found.superseded_by:
            raise Conflict(_given_up(found.superseded_by))
        return found.name


async def ended(database: Database) -> str:
    """Why nobody may work with this database any more, as soon as that is so."""
    begun = await asyncio.to_thread(_look, database)
    while True:
        await asyncio.sleep(_EVERY)
        try:
            now = await asyncio.to_thread(_look, database)
        except CloudError as error:
            log.debug("the database can't be looked at: %s", error.public)
            continue
        if now[0].superseded_by and now[1] == begun[1]:
            return _given_up(now[0].superseded_by)
        if (now[0].name, now[1]) != (begun[0].name, begun[1]):
            return "the database was promoted or recovered meanwhile: start again"


def _look(database: Database) -> tuple[incarnations.Standing, str]:
    with database.read() as tx:
        return incarnations.standing(tx), incarnations.place(tx)


def _given_up(by: str) -> str:
    return (
        f"this database was given up: {by} has taken its place, and hosts listen to that one alone."
        " Make this a replica of that one, or restore a backup into an empty database"
    )
