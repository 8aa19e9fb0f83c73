"""Idle hosts that sleep, on virtual time: the real controllers, switches that can fail, and agents that fall silent with
the power. Nobody is alarmed, nobody is missed, and who is needed is woken.
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import update
from test_fencing import Rack, racked

from arable.controllers import resting
from arable.domain.alert import AlertKind
from arable.domain.host import HostState
from arable.domain.ids import HostId
from arable.domain.power import PowerState
from arable.domain.settings import (
    HOST_BOOT_SECONDS,
    IDLE_HOST_RESERVE,
    IDLE_HOST_SECONDS,
    IDLE_HOSTS,
)
from arable.domain.units import Size
from arable.store import capacity, placing, reservations, restore, settings
from arable.store import resting as rows
from arable.store import schema as t
from databases import fresh_sqlite

UP, ASLEEP, SILENT, DOWN = HostState.UP, HostState.ASLEEP, HostState.SILENT, HostState.DOWN
IDLE = 60


class Resting:
    """A pod of four and a pod of two, all of which can be switched, with room for machines."""

    def __init__(self, rack: Rack) -> None:
        self.rack, self.pods = rack, rack.pods
        with self.pods.database.write() as tx:
            tx.execute(
                update(t.host).values(
                    roles=("compute",), cpu_mhz=4000, memory_mib=4096, disk_mib=40960
                )
            )
        for name in self.pods.nodes:
            rack.bmc(name)

    def set(self, **values: int | str) -> None:
        with self.pods.database.write() as tx:
            settings.put(tx, values)

    def policy(self, reserve: int = 1) -> None:
        self.set(
            **{
                IDLE_HOSTS.name: "sleep",
                IDLE_HOST_SECONDS.name: IDLE,
                IDLE_HOST_RESERVE.name: reserve,
            }
        )

    def run(self, seconds: int) -> None:
        for second in range(seconds):
            self.rack.run(1)
            if second % resting.SECONDS == 0:
                with self.pods.database.write() as tx:
                    resting.attend(tx, self.pods.clock.now())

    def states(self) -> dict[str, str]:
        return {name: self.rack.row(name).state.value for name in sorted(self.pods.nodes)}

    def asleep(self) -> list[str]:
        return [name for name, state in self.states().items() if state == "asleep"]

    def takes(self, name: str) -> bool:
        """Whether a machine found room there."""
        host = HostId(f"host-{name}")
        with self.pods.database.write() as tx:
            return not reservations.take(tx, {host: (Size(1, 100, 100, 100), 1)})

    def sleep(self, name: str) -> None:
        with self.pods.database.write() as tx:
            assert rows.sleep(tx, [HostId(f"host-{name}")], self.pods.clock.now(), "a test")

    def wake(self, name: str) -> None:
        with self.pods.database.write() as tx:
            assert rows.wake(tx, [HostId(f"host-{name}")], self.pods.clock.now(), "a test")


@pytest.fixture
def pods(tmp_path) -> Iterator[Resting]:
    with fresh_sqlite(tmp_path) as database:
        for rack in racked(database):
            yield Resting(rack)


@pytest.fixture
def on_either(database) -> Iterator[Resting]:
    """The statements are the same on both databases, the minutes of all these tests are not."""
    for rack in racked(database):
        yield Resting(rack)


def test_nobody_sleeps_unless_an_operator_wants_it(pods: Resting) -> None:
    pods.run(5 * IDLE)
    assert pods.asleep() == []
    assert pods.rack.switched == []


def test_idle_hosts_sleep_but_for_the_reserve_of_each_pod_and_nobody_is_alarmed(
    on_either: Resting,
) -> None:
    on_either.policy()
    on_either.run(IDLE - 20)
    assert on_either.asleep() == []
    on_either.run(60)
    assert len(on_either.asleep()) == 4
    assert sorted(name[0] for name, state in on_either.states().items() if state == "up") == [
        "a",
        "b",
    ]
    assert {on_either.rack.row(name).powered_off for name in on_either.asleep()} == {True}
    on_either.run(240)
    assert on_either.rack.findings() == []
    assert len(on_either.rack.switched) == 4
    told = on_either.rack.told()
    assert (told.count("host.sleeps"), "host.silent" in told, "host.down" in told) == (
        4,
        False,
        False,
    )
    with on_either.pods.database.read() as tx:
        count, amounts = capacity.of_zone(tx, "zone-z")
    assert count.total == 6
    assert amounts["memory_mib"].idle == 6 * 4096, "it is room that can be had"


def test_a_host_with_a_machine_stays_and_when_it_leaves_it_sleeps_after_its_time(
    pods: Resting,
) -> None:
    assert pods.takes("a0")
    pods.policy(reserve=0)
    pods.run(2 * IDLE)
    assert pods.states()["a0"] == "up"
    with pods.pods.database.write() as tx:
        reservations.give(tx, [(HostId("host-a0"), Size(1, 100, 100, 100), 1)])
    pods.run(IDLE - 20)
    assert pods.states()["a0"] == "up"
    pods.run(60)
    assert pods.states()["a0"] == "asleep"


@pytest.mark.parametrize(
    "column", [{"roles": ("compute", "routing")}, {"maintenance": True}, {"awaited": True}]
)
def test_a_host_that_is_for_more_or_is_somebodys_stays_awake(
    pods: Resting, column: dict[str, object]
) -> None:
    with pods.pods.database.write() as tx:
        tx.execute(update(t.host).where(t.host.c.id == "host-a1").values(**column))
    pods.policy(reserve=0)
    pods.run(3 * IDLE)
    assert pods.states()["a1"] == "up"


def test_nothing_is_placed_on_one_that_is_about_to_sleep_or_does(on_either: Resting) -> None:
    on_either.sleep("a0")
    assert not on_either.takes("a0")
    with on_either.pods.database.read() as tx:
        assert {h.name: h.refuses for h in placing.hosts(tx, "zone-z")}["a0"] == "is going to sleep"
    on_either.run(10)
    assert not on_either.takes("a0")
    with on_either.pods.database.read() as tx:
        assert {h.name: h.refuses for h in placing.hosts(tx, "zone-z")}["a0"] == "is asleep"


def test_one_that_got_a_machine_meanwhile_is_not_put_to_sleep(pods: Resting) -> None:
    assert pods.takes("a0")
    with pods.pods.database.write() as tx:
        assert rows.sleep(tx, [HostId("host-a0")], pods.pods.clock.now(), "too late") == []
    pods.run(10)
    assert pods.rack.switched == []


def test_when_the_reserve_is_used_another_is_woken_and_not_put_to_sleep_at_once(
    pods: Resting,
) -> None:
    pods.policy()
    pods.run(3 * IDLE)
    (awake,) = [name for name, state in pods.states().items() if state == "up" and name[0] == "a"]
    assert pods.takes(awake)
    pods.run(30)
    up = [name for name, state in pods.states().items() if state == "up" and name[0] == "a"]
    assert len(up) == 2, "it is back, with its agent"
    with pods.pods.database.write() as tx:
        reservations.give(tx, [(HostId(f"host-{awake}"), Size(1, 100, 100, 100), 1)])
    before = len(pods.rack.switched)
    pods.run(IDLE - 40)
    assert len(pods.rack.switched) == before, "whatever comes and goes"
    pods.run(120)
    assert len(pods.asleep()) == 4


def test_nobody_sleeps_in_a_pod_with_a_lost_host(pods: Resting) -> None:
    node = pods.pods.nodes["a3"]
    node.uplink = node.agent = node.alive = False
    pods.run(60)
    assert pods.states()["a3"] == "down"
    pods.policy()
    pods.run(3 * IDLE)
    assert pods.asleep() in (["b0"], ["b1"])


def test_one_that_does_not_wake_is_silent_and_another_is_woken(pods: Resting) -> None:
    pods.set(**{HOST_BOOT_SECONDS.name: 60})
    pods.policy()
    pods.run(3 * IDLE)
    (awake,) = [name for name, state in pods.states().items() if state == "up" and name[0] == "a"]
    first, second, _third = [name for name in pods.asleep() if name[0] == "a"]
    pods.pods.nodes[first].agent = False  # it gets power, and its disk is gone
    assert pods.takes(awake)
    pods.run(30)
    assert (pods.states()[first], pods.states()[second]) == ("asleep", "asleep")
    assert pods.rack.row(first).told == rows.WAKING
    pods.run(60)
    assert pods.states()[first] in ("silent", "down")
    assert pods.states()[second] == "up"
    assert {kind for kind, name in pods.rack.findings() if name == first} <= {
        AlertKind.HOST_SILENT,
        AlertKind.HOST_DOWN,
    }
    assert "host.silent" in pods.rack.told()


def test_one_whose_switch_fails_is_told_of_and_another_is_woken(pods: Resting) -> None:
    pods.policy()
    pods.run(3 * IDLE)
    (awake,) = [name for name, state in pods.states().items() if state == "up" and name[0] == "a"]
    pods.rack.refuses = True
    assert pods.takes(awake)
    pods.run(60)
    assert AlertKind.HOST_POWER_FAILING in {kind for kind, _ in pods.rack.findings()}
    assert "silent" in pods.states().values(), "it is not counted on any more"
    pods.rack.refuses = False
    pods.run(60)
    up = [name for name, state in pods.states().items() if state == "up" and name[0] == "a"]
    assert len(up) >= 2
    assert not pods.rack.findings()


def test_one_that_somebody_gives_power_is_awake_and_stays_so_for_its_time(pods: Resting) -> None:
    pods.sleep("a0")
    pods.run(60)
    assert pods.states()["a0"] == "asleep"
    pods.pods.nodes["a0"].alive = True  # its button
    pods.run(60)
    assert pods.states()["a0"] == "up"
    assert not pods.rack.row("a0").rests
    assert pods.takes("a0")
    assert pods.rack.told().count("host.woken") == 1


def test_one_that_is_woken_while_it_falls_asleep_comes_back(pods: Resting) -> None:
    pods.rack.slow = 4
    pods.sleep("a0")
    pods.run(2)
    pods.wake("a0")
    pods.run(90)
    assert pods.states()["a0"] == "up"
    assert pods.takes("a0")
    assert pods.rack.known("a0").wanted is None


def test_in_a_restored_copy_whoever_slept_is_woken_to_say_what_it_runs(on_either: Resting) -> None:
    on_either.sleep("a0")
    on_either.run(30)
    with on_either.pods.database.write() as tx:
        restore.renew(tx, "db-2", on_either.pods.clock.now() + timedelta(seconds=1))
    assert on_either.rack.known("a0").wanted is PowerState.ON
    assert not on_either.rack.row("a0").rests
    on_either.run(30)
    assert on_either.states()["a0"] == "up"
