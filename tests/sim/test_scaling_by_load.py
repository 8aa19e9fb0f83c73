"""A simulated cloud's tier follows what its router tells, from haproxy's figures to machines that serve or are gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.domain.balancer import BalancerSeen
from arable.sim import invariants
from arable.sim.acts import rows
from arable.sim.cloud import Cloud
from arable.sim.farm_stories import lay_out
from arable.sim.ground import Room

STATES = "select state from element order by number"
COUNT = "select count from tier"
POLICY = {"targets": [{"metric": "sessions", "value": 50}], "down_seconds": 60}


class Shop:
    """A farm of one tier, and those who call it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        first = cloud.ground.callers[0]
        cloud.ask(first, lambda call: lay_out(call, "shop", 1, policy=POLICY))
        assert self.rounds_until(STATES, "serving") < 30

    def bears(self, sessions: int) -> None:
        (balancer,) = rows(self.cloud, "select id from balancer")
        for node in self.cloud.nodes.values():
            node.hardware.figures[balancer] = BalancerSeen(id=balancer, sessions=sessions)

    def goes_on(self, rounds: int) -> None:
        for _ in range(rounds):
            self.cloud.settle_down(1)
        with self.cloud.database.read() as tx:
            invariants.always(tx, {id_: node.hardware for id_, node in self.cloud.nodes.items()})

    def rounds_until(self, query: str, *wanted: object) -> int:
        for rounds in range(60):
            if rows(self.cloud, query) == list(wanted):
                return rounds
            self.goes_on(1)
        raise AssertionError(f"{query}: {rows(self.cloud, query)}, not {wanted}")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    cloud = Cloud.build("scaling", tmp_path, Room(pods=1, hosts=2))
    cloud.settle_down(2)
    yield Shop(cloud)
    cloud.database.close()


def test_load_that_rises_is_met_at_once_and_load_that_falls_slowly(shop: Shop) -> None:
    shop.goes_on(6)
    shop.bears(95)
    assert shop.rounds_until(COUNT, 2) <= 2
    shop.rounds_until(STATES, "serving", "serving")
    shop.bears(10)
    assert shop.rounds_until(COUNT, 1) >= 5
    shop.rounds_until(STATES, "serving")
    assert len(rows(shop.cloud, "select 1 from event where kind = 'tier.scaled'")) == 2


def test_where_nothing_is_heard_of_a_router_nothing_changes(shop: Shop) -> None:
    (host,) = rows(shop.cloud, "select appliance_host from network")
    shop.bears(10)
    shop.goes_on(4)
    shop.cloud.cut(shop.cloud.nodes[host])
    shop.bears(190)
    shop.goes_on(12)
    assert rows(shop.cloud, COUNT) == [1]
    shop.cloud.heal()
    assert shop.rounds_until(COUNT, 2) <= 20
