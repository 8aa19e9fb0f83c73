"""Counts of tiers follow what their routers and hosts tell, and the clock, on both databases; what is not known changes nothing."""

from datetime import timedelta

import msgspec
import pytest
from make_farm import change
from make_shop import SHOP, Shop
from sqlalchemy import insert

from arable.controllers import scaling
from arable.domain.balancer import Calm
from arable.domain.ids import TierId
from arable.services import farms, tiers
from arable.store import scalings, schema
from arable.store.columns import micros
from arable.wire.tiers import TierChange


def policy(metric: str = "requests-per-s", value: int = 50, **more) -> dict:
    return {"policy": {"targets": [{"metric": metric, "value": value}], **more}, "count": None}


class Scaled(Shop):
    """A farm that its server scales."""

    def look(self) -> int:
        with self.cloud.database.write() as tx:
            return scaling.attend(tx, self.cloud.around.clock.now(), [self.farm])

    def due(self, holder: str = "me") -> bool:
        with self.cloud.database.read() as tx:
            return bool(scaling.wanting(tx, holder, self.cloud.around.clock.now()))

    def tier(self):
        ((id_,),) = self.cloud.rows("select id from tier")
        return self.cloud.do(self.ann, tiers.get, TierId(id_))

    def serve(self) -> None:
        self.round()
        self.run_all()
        self.says()
        self.round(2)

    def calm(self) -> dict:
        ((told,),) = self.cloud.rows("select calm from balancer")
        return msgspec.json.decode(told) if isinstance(told, str) else told

    def looks(self, times: int) -> None:
        """So many, with little to do, in so many half minutes."""
        for _ in range(times):
            self.wait(28)
            self.says(request_rate=10)
            self.look()

    def wait(self, seconds: float) -> None:
        self.cloud.around.clock.wait(timedelta(seconds=seconds))


@pytest.fixture
def shop(cloud) -> Scaled:
    made = Scaled(cloud, policy())
    made.serve()
    return made


def test_a_tier_bears_more_and_has_more_at_the_next_look_and_less_only_after_long(shop):
    assert shop.tier().count == 1
    shop.says(request_rate=52)  # within a tenth
    assert (shop.look(), shop.tier().count) == (0, 1)
    assert shop.calm()["request_rate"] == {"least": 0, "most": 55}
    shop.says(request_rate=96)
    assert (shop.look(), shop.tier().count) == (1, 2)
    shown = shop.tier()
    assert shown.why == "requests-per-s for 1.9 elements"
    assert (shown.load.requests_per_s, shown.load.cpu_percent) == (96, None)
    told = shop.cloud.rows("select text from event where kind = 'tier.scaled'")
    assert told == [("shop: web has 2 elements, not 1: requests-per-s for 1.9 elements",)]
    shop.serve()
    shop.says(request_rate=400)
    assert (shop.look(), shop.tier().count) == (1, 4)  # no more than twice as many
    assert shop.calm()["request_rate"]["most"] == 10**9  # there can't be more
    shop.looks(10)
    shop.says(request_rate=190)  # all four are needed
    shop.look()
    shop.looks(10)
    shop.wait(40)  # nobody looks
    shop.looks(10)
    assert shop.tier().count == 4
    shop.looks(2)
    assert (shop.tier().count, shop.tier().why) == (3, "fewer were enough for 300 s")


@pytest.mark.parametrize(
    "away",
    [
        "update network set appliance_state = 'starting'",
        "update host set state = 'silent'",
        "update network set appliance_host = null, appliance_state = 'absent'",
        "delete from balancer_seen",
        "",  # its news is old
    ],
)
def test_a_router_that_is_away_or_silent_decides_nothing(lone_cloud, away):
    shop = Scaled(lone_cloud, policy())
    shop.serve()
    shop.says(request_rate=500)
    if away:
        lone_cloud.run(away)
    else:
        shop.wait(31)
    assert (shop.look(), shop.tier().load, shop.tier().count) == (0, None, 1)


def test_processors_count_if_each_element_that_serves_was_told_of(cloud):
    shop = Scaled(cloud, policy("cpu-percent", 60) | {"least": 2})
    shop.serve()
    machines = [id_ for (id_,) in cloud.rows("select id from machine order by name")]
    with cloud.database.read() as tx:
        assert sorted(scalings.watched(tx)) == sorted(machines)
    cpus = cloud.rows("select cpus from machine")[0][0]
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        for id_, percent in zip(machines, (90, 70), strict=True):
            values = {"counters": "{}", "cpu_ns": 0, "millicpus": percent * 10 * cpus}
            tx.execute(insert(schema.machine_usage).values(machine=id_, at=now, **values))
    shop.look()
    assert (shop.tier().load.cpu_percent, shop.tier().count) == (160, 3)
    cloud.run("update machine_usage set millicpus = 0")
    cloud.run(f"update machine_usage set at = {micros(now) - 31_000_000} where machine = '{machines[0]}'")  # fmt: skip
    shop.says()
    shop.look()
    assert shop.tier().load.cpu_percent is None


def test_memory_counts_where_guests_tell_it_and_the_network_as_hosts_count_it(cloud):
    shop = Scaled(cloud, policy("memory-percent", 50) | {"least": 2})
    shop.serve()
    size = cloud.rows("select memory_mib from machine")[0][0]
    machines = [id_ for (id_,) in cloud.rows("select id from machine order by name")]
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        for id_, percent in zip(machines, (75, None), strict=True):
            told = None if percent is None else size * percent // 100
            values = {"counters": "{}", "cpu_ns": 0, "memory_mib": told, "kbps": 300}
            tx.execute(insert(schema.machine_usage).values(machine=id_, at=now, **values))
    shop.look()
    load = shop.tier().load
    assert (load.memory_percent, load.kbps, shop.tier().count) == (None, 600, 2)
    cloud.run(f"update machine_usage set memory_mib = {size}")
    shop.look()
    assert (shop.tier().load.memory_percent, shop.tier().count) == (200, 4)


def test_a_window_asks_for_more_and_what_was_there_before_comes_back(cloud):
    now = cloud.around.clock.now()
    clock = [(now + timedelta(minutes=m)).strftime("%H:%M") for m in (10, 20)]
    window = {"begin": clock[0], "end": clock[1], "least": 3, "lead_seconds": 60}
    shop = Scaled(cloud, {"windows": [window], "count": 1})
    shop.look()
    assert shop.tier().count == 1
    shop.wait(9 * 60)
    shop.look()
    assert (shop.tier().count, shop.tier().why) == (3, "at least 3")
    shop.look()
    shop.wait(12 * 60)
    shop.look()
    assert (shop.tier().count, shop.tier().why) == (1, "no window asks for more")


def test_its_server_alone_looks_in_time_and_when_there_is_news(shop):
    assert shop.due()  # a new tier
    assert not shop.due("another")
    shop.look()
    assert not shop.due()
    shop.says(request_rate=1)
    assert shop.due()
    shop.look()
    shop.wait(9)
    assert not shop.due()
    shop.wait(1)
    assert shop.due()
    shop.cloud.run("update farm set epoch = 2")  # given to another, which has not begun
    assert not shop.due()


def test_a_count_by_hand_is_a_new_beginning_for_a_policy(shop):
    update = TierChange(count=2)
    shop.cloud.do(shop.ann, tiers.update, TierId(shop.tier().id), update)
    shop.serve()
    shop.looks(8)
    update = TierChange(count=3)
    shop.cloud.do(shop.ann, tiers.update, TierId(shop.tier().id), update)
    shop.serve()
    shop.looks(8)
    assert shop.tier().count == 3


def test_without_its_policy_a_tier_is_left_alone_and_not_listened_to(shop):
    shop.says(request_rate=20)
    shop.look()
    assert shop.calm()["request_rate"]
    shop.cloud.do(shop.ann, farms.update, shop.farm, change(tiers=[SHOP["tiers"][0]]))
    assert shop.cloud.rows("select 1 from tier_scaling") == []
    assert shop.tier().load is None
    assert shop.calm() == msgspec.to_builtins(Calm())
