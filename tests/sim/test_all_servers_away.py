"""Hosts are judged by what could be heard of them: while no management server is there, nobody is silent."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from arable.sim.cloud import Cloud
from arable.sim.ground import Room

SILENT = timedelta(seconds=30)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("away", tmp_path, Room(pods=1, hosts=3))
    made.settle_down(30)
    yield made
    made.database.close()


def states(cloud: Cloud) -> set[str]:
    with cloud.database.read() as tx:
        return set(tx.scalars(text("select state from host")))


def silent_events(cloud: Cloud) -> int:
    with cloud.database.read() as tx:
        return tx.scalar(text("select count(*) from event where kind = 'host.silent'"))


def all_servers_are_away(cloud: Cloud, span: timedelta) -> None:
    """Hosts go on alone, and are heard by nobody."""
    for node in cloud.nodes.values():
        cloud.cut(node)
    cloud.clock.wait(span)
    for node in cloud.nodes.values():
        cloud.tend(node)
        node.wire.cut = False
    cloud.restart_server()


@pytest.mark.parametrize("away", [16, 31, 60, 86_400])
def test_the_controllers_run_first_after_all_servers_were_away_and_no_host_is_called_silent(
    cloud: Cloud, away: int
) -> None:
    all_servers_are_away(cloud, timedelta(seconds=away))
    cloud.control()
    assert states(cloud) == {"up"}
    for _ in range(2):  # nobody has spoken yet: agents take their time to come back
        cloud.clock.wait(timedelta(seconds=5))
        cloud.control()
    assert states(cloud) == {"up"}
    cloud.settle_down(60)
    assert states(cloud) == {"up"}
    assert silent_events(cloud) == 0


def test_a_host_that_does_not_come_back_is_silent_when_its_time_is_over(cloud: Cloud) -> None:
    all_servers_are_away(cloud, timedelta(hours=1))
    lost = next(iter(cloud.nodes.values()))
    cloud.cut(lost)
    cloud.settle_down(13)  # 26 seconds
    assert silent_events(cloud) == 0
    cloud.settle_down(5)
    with cloud.database.read() as tx:
        silent = list(tx.scalars(text("select id from host where state = 'silent'")))
    assert silent == [lost.id]


def test_a_host_falls_silent_as_before_while_servers_are_there(cloud: Cloud) -> None:
    lost = next(iter(cloud.nodes.values()))
    cloud.cut(lost)
    cloud.settle_down(19)  # 38 seconds: the limit, and a round
    assert states(cloud) == {"up", "silent"}
    cloud.restart_server()  # at once, so nothing is forgiven
    cloud.control()
    assert states(cloud) == {"up", "silent"}
