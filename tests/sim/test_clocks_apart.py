"""Servers and hosts whose wall clocks are minutes apart, and are set: nobody is missed, and time goes on evenly."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from arable.sim.ground import Room
from arable.sim.region import Region


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region.of("clocks apart", tmp_path, Room(pods=1, hosts=4, servers=2))
    made.live(30.0)
    yield made
    made.database.close()


def states(region: Region) -> list[str]:
    with region.database.read() as tx:
        return [row[0] for row in tx.exec_driver_sql("select distinct state from host")]


def test_a_server_that_is_minutes_ahead_takes_no_host_for_lost_that_another_one_hears(
    region: Region,
) -> None:
    for server in region.servers.values():
        ahead = 5 if server.segment.acting() else -5
        region.clocks[server.name].offset = timedelta(minutes=ahead)
    for _ in range(9):
        region.live(10.0, 1.0)
        assert states(region) == ["up"]
    with region.database.read() as tx:
        servers = tx.exec_driver_sql("select count(distinct server) from host").scalar_one()
    assert servers == 2, "each of them hears one"


def test_all_servers_tell_the_time_of_the_database_whatever_their_own_clocks_say(
    region: Region,
) -> None:
    for jump in (0, 600, -600):
        region.database_clock.offset += timedelta(seconds=jump)
        region.live(8.0)
        there = region.database_time()
        for server in region.servers.values():
            assert abs(server.clock.now() - there) < timedelta(seconds=0.5)


def test_a_database_whose_clock_is_set_forward_or_back_makes_nobody_lost(region: Region) -> None:
    for jump in (600, -600):
        region.database_clock.offset += timedelta(seconds=jump)
        for _ in range(6):
            region.live(5.0)
            assert states(region) == ["up"]
