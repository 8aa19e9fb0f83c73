"""By what processes tell the time: where others share the database, by that one's clock."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from arable.domain.segment import SegmentState
from arable.processes import grid
from arable.processes.failover import Failover
from arable.processes.grid import GridConfig
from arable.processes.regions_time import hear, regions_time
from arable.runtime.ca import Authority
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy
from arable.runtime.shared_clock import SharedClock
from arable.store import leases, migrate
from arable.store import schema as t
from arable.store.database import Database
from databases import fresh

LONG_AGO, FAR_OFF = datetime(1999, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)


@pytest.fixture
def shared(request, tmp_path) -> Iterator[Database]:
    """One that others share."""
    with fresh("postgresql", tmp_path, request) as made:
        yield made


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
    # It ran too fast, as the next look says: nothing has passed there.
    assert isinstance(told, SharedClock)
    hear(database, told)
    assert told.now() < first + timedelta(seconds=5)


def test_a_grid_manager_goes_by_its_databases_time(shared: Database, tmp_path: Path) -> None:
    with shared.write() as tx:  # its tables were made without revisions
        tx.execute(text("create table schema_version (version_num varchar(32) primary key)"))
        for table in ("schema_version", "schema_serves"):
            tx.execute(text(f"insert into {table} values ('{migrate.newest()}')"))
    config = GridConfig(data=tmp_path, database=shared.url)
    made = grid.assemble(config, VirtualClock(FAR_OFF), Entropy("grid"))
    try:
        assert made.around.clock.now() < FAR_OFF - timedelta(days=900)
        with shared.read() as tx:
            (first,) = tx.execute(select(t.user.c.created_at)).scalars()
        assert first < FAR_OFF - timedelta(days=900)
    finally:
        made.database.close()


def test_servers_that_begin_after_a_failover_are_seen_by_whose_clock_is_ahead(
    shared: Database, tmp_path: Path
) -> None:
    own, entropy = VirtualClock(FAR_OFF), Entropy("failover")
    authority = Authority.open(tmp_path, own, entropy)
    work = Failover.of(shared, None, authority, own, entropy)
    since = work.clock.now()
    with shared.write() as tx:
        row = {"id": "server-b", "seq": 1, "address": "b:1", "state": SegmentState.READY}
        tx.execute(insert(t.segment).values(**row, heartbeat_at=leases.now(tx, own.now())))
    assert work.await_servers(since) == ["server-b"]
