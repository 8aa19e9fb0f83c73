"""`arable failover`: make the second site the first one.

Its PostgreSQL is a replica of the first site's, and its management servers stand by (`standby.py`). The old primary
is shut for writing where it can still be reached, so that the replica can catch up and nothing is lost; then the
replica is promoted, gets a new name, and the servers begin by themselves. Every step may be repeated: whoever runs
this again after it was interrupted goes on where it ended.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from arable.domain.errors import BadInput, CloudError, Conflict, Unavailable
from arable.processes import succession
from arable.processes.regions_time import regions_time
from arable.runtime import succession as names
from arable.runtime.ca import Authority
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy, Ids
from arable.store import incarnations, replicas, segments
from arable.store.database import Database
from arable.store.replicas import Behind

Say = Callable[[str], None]

PROMOTE_SECONDS = 60
CATCH_UP = timedelta(seconds=30)
BEGIN = timedelta(seconds=60)
_STEP = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is before anything is done."""

    promoted: bool  # already, but not more
    behind: Behind | None
    old_answers: bool


@dataclass(slots=True)
class Failover:
    """`database` is the replica, `old` the primary, if it is said where that is; `clock` tells the replica's time."""

    database: Database
    old: Database | None
    authority: Authority
    clock: Clock
    ids: Ids

    @classmethod
    def of(
        cls,
        database: Database,
        old: Database | None,
        authority: Authority,
        own: Clock,
        entropy: Entropy,
    ) -> "Failover":
        """By the time of the database, which is what servers there go by, and not by `own`, this machine's."""
        clock = regions_time(database, own)
        return cls(database, old, authority, clock, Ids(clock, entropy))

    def look(self) -> Found:
        """Whether it can be done. Raises `Conflict` where this is no replica, `BadInput` where `old` is another cloud's."""
        if self.database.is_sqlite:
            raise BadInput("only a PostgreSQL that follows another one can take its place", field="database")  # fmt: skip
        with self.database.read() as tx:
            replica = replicas.is_replica(tx)
            behind = replicas.behind(tx) if replica else None
            standing = incarnations.standing(tx)
            renewed = not replica and standing.place == incarnations.place(tx)
        if renewed and not replicas.stands_by(self.database):
            raise Conflict("this database is no replica: it is the first site's already")
        return Found(
            promoted=not replica, behind=behind, old_answers=self._old_answers(standing.name)
        )

    def fence(self, say: Say) -> None:
        """Shut the old primary, and wait until the replica has all that was written there."""
        assert self.old is not None, "it answers"
        with self.old.write() as tx:
            name = names.drawn(self.authority, self.ids, after=incarnations.current(tx))
            incarnations.supersede(tx, name)
        replicas.shut(self.old)
        say("the old primary takes no writes any more; its servers end")
        with self.old.read() as tx:
            last = replicas.position(tx)
        end = self.clock.monotonic() + CATCH_UP.total_seconds()
        while True:
            with self.database.read() as tx:
                if not replicas.is_replica(tx) or replicas.has_reached(tx, last):
                    break
            if self.clock.monotonic() > end:
                raise Unavailable(
                    f"the replica has not reached {last}, the end of what the old primary wrote;"
                    " run this again when it has, or with --no-fence to go on without the rest"
                )
            self.clock.wait(_STEP)
        say("the replica has everything that was written there")

    def promote(self, say: Say) -> str:
        """Be the first site; the database's new name."""
        with self.database.read() as tx:
            if replicas.is_replica(tx):
                replicas.promote(tx, PROMOTE_SECONDS)
        replicas.reopen(self.database)
        name = succession.take_over(self.database, self.authority, self.clock, self.ids)
        say(f"promoted; this database is {name} from now on")
        return name

    def await_servers(self, since: datetime) -> list[str]:
        """The management servers that have begun since; none if none does within a minute."""
        end = self.clock.monotonic() + BEGIN.total_seconds()
        while self.clock.monotonic() < end:
            with self.database.read() as tx:
                begun = [str(each.id) for each in segments.members(tx) if each.heartbeat_at > since]
            if begun:
                return begun
            self.clock.wait(_STEP)
        return []

    def _old_answers(self, name: str) -> bool:
        if self.old is None:
            return False
        try:
            with self.old.read() as tx:
                if replicas.is_replica(tx):
                    raise BadInput("the old database is a replica itself", field="old-database")
                if incarnations.current(tx) != name:
                    raise BadInput("the old database is not the one that this follows", field="old-database")  # fmt: skip
        except BadInput:
            raise
        except CloudError:
            return False
        return True
