"""By what a server tells the time: where others share the database, by that one's clock."""

from datetime import UTC, datetime, timedelta

from arable.processes.server import regions_time
from arable.runtime.clock import VirtualClock
from arable.store.database import Database

LONG_AGO = datetime(1999, 1, 1, tzinfo=UTC)


def test_a_server_with_the_wrong_time_tells_that_of_the_database_that_it_shares(
    database: Database,
) -> None:
    own = VirtualClock(LONG_AGO)
    told = regions_time(database, own)
    if database.is_sqlite:
        assert told is own
        return
    first = told.now()
    assert first > LONG_AGO + timedelta(days=9000)
    own.wait(timedelta(seconds=5))
    own.jump(timedelta(hours=-3))
    assert told.now() == first + timedelta(seconds=5)
