"""Who runs the controllers, of several servers on one database."""

from datetime import UTC, datetime, timedelta

from arable.cluster.lease import LENGTH
from arable.controllers.loop import LEASE, Loop
from arable.runtime.clock import VirtualClock
from arable.store import leases
from arable.store.database import Database
from arable.store.writer import Writer


def leads(loop: Loop) -> bool:
    """Whether it would act now."""
    done = loop._leads
    writer = loop.writer
    writer.start()
    try:
        return done()
    finally:
        writer.stop()


def server(database: Database, name: str, clock: VirtualClock) -> Loop:
    return Loop(Writer(database), clock, name)


def holder(database: Database) -> str:
    with database.read() as tx:
        found = leases.get(tx, LEASE)
    assert found
    return found[0]


def test_a_second_server_follows_until_the_first_has_been_silent_for_long_enough(sqlite) -> None:
    clock = VirtualClock()
    assert leads(server(sqlite, "one", clock))
    assert not leads(server(sqlite, "two", clock))
    clock.wait(LENGTH + timedelta(seconds=1))
    assert leads(server(sqlite, "two", clock))
    assert not leads(server(sqlite, "one", clock))


def test_a_server_whose_clock_is_an_hour_ahead_takes_nothing_from_others(
    postgresql, request, tmp_path
) -> None:
    from databases import fresh

    now = datetime.now(UTC)  # noqa: TID251 - the database's own clock is real
    with fresh("postgresql", tmp_path, request) as database:
        assert leads(server(database, "one", VirtualClock(now)))
        assert not leads(server(database, "two", VirtualClock(now + timedelta(hours=1))))
        assert holder(database) == "one"


def test_a_clock_that_is_set_back_does_not_keep_a_leader_from_renewing(sqlite) -> None:
    clock = VirtualClock()
    loop = server(sqlite, "one", clock)
    loop.writer.start()
    try:
        assert loop._leads()
        clock.jump(-timedelta(hours=1))
        clock.wait(LENGTH)
        assert loop._leads()
        with sqlite.read() as tx:
            found = leases.get(tx, LEASE)
        assert found
        assert found[2] <= clock.now() + LENGTH
    finally:
        loop.writer.stop()
