"""Hosts that are down lose their power: the intent, the deed, what was seen, and who may undo it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from pod_world import Pods

from arable.controllers import host_watches, liveness, power
from arable.controllers.switching import LOOK_AGAIN, RETURN, Switcher
from arable.domain.access import EVERYTHING
from arable.domain.alert import AlertKind
from arable.domain.errors import Conflict, Forbidden
from arable.domain.host import Host, HostState
from arable.domain.ids import HostId
from arable.domain.power import Bmc, PowerState
from arable.domain.settings import HOST_BOOT_SECONDS
from arable.drivers.faults import Faults, every_failure
from arable.drivers.power.sim import SimPower
from arable.store import bmcs, events, hosts, restore, settings
from arable.store.events import EventFilter
from arable.store.writer import Writer
from databases import fresh_sqlite

DOWN, UP, SILENT = HostState.DOWN, HostState.UP, HostState.SILENT


@dataclass
class Rack:
    """Pods whose hosts can be switched, and a server that does it. `meanwhile` happens while a BMC is asked."""

    pods: Pods
    writer: Writer
    faults: dict[str, Faults] = field(default_factory=dict)
    switched: list[tuple[str, bool]] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    acts: bool = True
    deposed: bool = False
    slow: int = 0
    refuses: bool = False
    _switches: dict[str, SimPower] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.switcher = Switcher(
            self.pods.database,
            self.writer,
            self.pods.clock,
            self.switch,
            lambda: self.fence if self.acts else None,
        )

    def fence(self, _tx) -> None:
        if self.deposed:
            raise Conflict("another server acts by now")

    def switch(self, bmc: Bmc) -> SimPower:
        name = bmc.host.removeprefix("host-")
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.refuses:
            raise Forbidden("the BMC refuses this user or password")
        node = self.pods.nodes[name]

        def to(on: bool) -> None:
            self.switched.append((name, on))
            node.alive = on

        return self._switches.setdefault(
            name, SimPower(lambda: node.alive, to, self.faults.get(name, Faults()), self.slow)
        )

    def bmc(self, name: str) -> None:
        made = Bmc(host=HostId(f"host-{name}"), url="https://bmc", user="u", sealed="",
                   created_at=self.pods.clock.now())  # fmt: skip
        with self.pods.database.write() as tx:
            bmcs.put(tx, made)

    def wish(self, name: str, wanted: PowerState) -> None:
        with self.pods.database.write() as tx:
            if wanted is PowerState.ON:
                bmcs.rely_no_more(tx, HostId(f"host-{name}"))
            bmcs.wish(tx, HostId(f"host-{name}"), wanted, self.pods.clock.now())

    def known(self, name: str) -> Bmc:
        with self.pods.database.read() as tx:
            found = bmcs.find(tx, HostId(f"host-{name}"))
        assert found is not None
        return found

    def row(self, name: str) -> Host:
        return self.pods.row(name)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.pods.tick()
            self.switcher.step()

    def told(self) -> list[str]:
        with self.pods.database.read() as tx:
            return [e.kind for e in events.page(tx, EVERYTHING, EventFilter(kind="host"))]

    def findings(self) -> list[tuple[AlertKind, str]]:
        with self.pods.database.read() as tx:
            return [
                (found.kind, found.name)
                for look in host_watches.HOST_WATCHES
                for found in look(tx, self.pods.clock.now())
            ]


def racked(database) -> Iterator[Rack]:
    writer = Writer(database)
    writer.start()
    made = Rack(Pods(database, {"a": 4, "b": 2}), writer)
    try:
        made.pods.tick(int(RETURN.total_seconds()) + 5)
        yield made
    finally:
        made.switcher.stop()
        writer.stop()


@pytest.fixture
def rack(sqlite) -> Iterator[Rack]:
    yield from racked(sqlite)


@pytest.fixture
def on_either(database) -> Iterator[Rack]:
    """The statements are the same on both databases, the minutes of all these tests are not."""
    yield from racked(database)


def lose(rack: Rack, name: str = "a1", *, alive: bool = True) -> None:
    """Nobody hears it any more, though it may have power."""
    node = rack.pods.nodes[name]
    node.uplink = node.agent = False
    node.alive = alive
    rack.pods.until(name, DOWN, 60)


def test_a_host_that_is_down_is_powered_off_seen_off_and_kept_off(on_either: Rack):
    on_either.bmc("a1")
    lose(on_either)
    assert not on_either.row("a1").powered_off
    on_either.run(6)
    assert on_either.switched == [("a1", False)]
    found = on_either.row("a1")
    assert (found.state, found.powered_off) == (DOWN, True)
    assert "it is powered off" in found.told
    assert on_either.known("a1").wanted is None
    on_either.run(120)
    assert on_either.switched == [("a1", False)]
    assert on_either.told().count("host.powered-off") == 1
    assert on_either.findings() == [(AlertKind.HOST_DOWN, "a1")]


def test_a_host_without_a_bmc_is_left_to_its_leases(rack: Rack):
    lose(rack)
    rack.run(10)
    assert rack.switched == []
    assert not rack.row("a1").powered_off


def test_a_bmc_that_is_made_known_later_is_made_use_of(rack: Rack):
    lose(rack)
    rack.run(10)
    rack.bmc("a1")
    rack.run(10)
    assert rack.row("a1").powered_off


def test_a_host_that_is_off_already_is_only_looked_at(rack: Rack):
    rack.bmc("a1")
    lose(rack, alive=False)
    rack.run(6)
    assert rack.switched == []
    assert rack.row("a1").powered_off


def test_a_host_that_is_heard_again_in_time_keeps_its_power(rack: Rack):
    rack.bmc("a1")
    lose(rack)
    with rack.pods.database.write() as tx:
        power.attend(tx, rack.pods.clock.now())
    assert rack.known("a1").wanted is PowerState.OFF

    def back() -> None:
        with rack.pods.database.write() as tx:
            hosts.connected(tx, [HostId("host-a1")], "server-1", rack.pods.clock.now())
            power.attend(tx, rack.pods.clock.now())

    rack.meanwhile = back  # when its BMC has been asked for the first time
    rack.switcher.step()
    assert rack.switched == []
    assert rack.known("a1").wanted is None
    assert rack.row("a1").state is UP


def test_one_that_takes_its_time_is_looked_at_until_it_is_off(rack: Rack):
    rack.slow = 10
    rack.bmc("a1")
    lose(rack)
    rack.run(3)
    assert not rack.row("a1").powered_off
    rack.run(10)
    assert rack.row("a1").powered_off
    assert rack.switched == [("a1", False)]


def test_a_bmc_that_refuses_is_tried_less_and_less_often_and_told_of(on_either: Rack):
    on_either.bmc("a1")
    on_either.refuses = True
    lose(on_either)
    on_either.run(30)
    found = on_either.known("a1")
    assert 3 <= found.tries <= 6
    assert "refuses" in found.told
    assert (AlertKind.HOST_POWER_FAILING, "a1") in on_either.findings()
    on_either.refuses = False
    on_either.run(70)
    assert on_either.row("a1").powered_off
    assert (AlertKind.HOST_POWER_FAILING, "a1") not in on_either.findings()


def test_a_host_that_was_down_is_given_time_to_come_back_after_nobody_could_hear_it(rack: Rack):
    rack.bmc("a1")
    rack.refuses = True
    lose(rack)
    rack.run(5)
    rack.pods.managed = False
    node = rack.pods.nodes["a1"]
    node.alive = node.agent = node.uplink = True
    rack.pods.tick(600)
    rack.refuses = False
    rack.switcher.step()
    assert rack.switched == [], "it may be well by now, and so it is"
    rack.pods.managed = True
    rack.run(120)
    assert rack.switched == []
    assert rack.row("a1").state is UP


def test_a_host_that_is_still_down_after_that_time_is_fenced(rack: Rack):
    rack.bmc("a1")
    rack.refuses = True
    lose(rack)
    rack.pods.managed = False
    rack.pods.tick(600)
    rack.refuses = False
    rack.pods.managed = True
    rack.run(int(RETURN.total_seconds()) - 10)
    assert rack.switched == []
    rack.run(20)
    assert rack.row("a1").powered_off


def test_a_restored_copy_switches_nobody_off_for_what_was_true_when_it_was_made(on_either: Rack):
    on_either.bmc("a1")
    on_either.refuses = True
    lose(on_either)
    on_either.run(5)
    with on_either.pods.database.write() as tx:
        restore.renew(tx, "a-later-one", on_either.pods.clock.now())
    on_either.refuses = False
    assert on_either.known("a1").wanted is None
    assert on_either.row("a1").state is SILENT
    node = on_either.pods.nodes["a1"]
    node.alive = node.agent = node.uplink = True
    on_either.run(30)
    assert on_either.switched == []
    assert on_either.row("a1").state is UP


def test_a_server_that_does_not_act_switches_nothing(rack: Rack):
    rack.bmc("a1")
    lose(rack)
    rack.acts = False
    rack.run(10)
    assert rack.switched == []


def test_what_a_deposed_server_saw_is_not_kept(rack: Rack):
    rack.bmc("a1")
    lose(rack)
    rack.deposed = True
    rack.run(6)
    assert not rack.row("a1").powered_off
    assert rack.known("a1").seen is None
    rack.deposed = False
    rack.run(6)
    assert rack.row("a1").powered_off


def test_an_operator_powers_it_on_again_and_it_has_time_to_come_up(on_either: Rack):
    on_either.bmc("a1")
    lose(on_either)
    on_either.run(6)
    on_either.wish("a1", PowerState.ON)
    assert not on_either.row("a1").powered_off, "nobody may count on it from now on"
    on_either.run(4)
    assert on_either.switched == [("a1", False), ("a1", True)]
    found = on_either.row("a1")
    assert (found.state, found.powered_off) == (SILENT, False)
    on_either.run(100)
    assert on_either.row("a1").state is SILENT, "it boots"
    assert len(on_either.switched) == 2
    node = on_either.pods.nodes["a1"]
    node.agent = node.uplink = True
    on_either.run(15)
    assert on_either.row("a1").state is UP
    assert on_either.row("a1").excused_until is None


def test_one_that_does_not_come_up_is_fenced_again(rack: Rack):
    with rack.pods.database.write() as tx:
        settings.put(tx, {HOST_BOOT_SECONDS.name: 30})
    rack.bmc("a1")
    lose(rack)
    rack.run(6)
    rack.wish("a1", PowerState.ON)
    rack.run(60)
    assert rack.switched == [("a1", False), ("a1", True), ("a1", False)]
    assert rack.row("a1").powered_off


def test_somebody_who_presses_its_button_is_noticed(rack: Rack):
    rack.bmc("a1")
    lose(rack)
    rack.run(6)
    rack.pods.nodes["a1"].alive = True
    rack.run(int(LOOK_AGAIN.total_seconds()) + 5)
    found = rack.row("a1")
    assert (found.powered_off, found.state) == (False, SILENT)


def test_a_host_that_is_heard_is_not_taken_to_be_off(rack: Rack):
    """Its BMC switched another machine, or nothing at all."""
    rack.bmc("a1")
    lose(rack)
    rack.run(6)
    assert rack.row("a1").powered_off
    node = rack.pods.nodes["a1"]
    node.alive = node.agent = node.uplink = True
    rack.run(12)
    assert (rack.row("a1").state, rack.row("a1").powered_off) == (UP, False)


def test_a_host_that_an_operator_powers_off_is_down_at_once(rack: Rack):
    rack.bmc("b1")
    rack.wish("b1", PowerState.OFF)
    rack.run(4)
    found = rack.row("b1")
    assert (found.state, found.powered_off, found.told) == (DOWN, True, "it is powered off")


def test_it_is_without_power_and_known_to_be_wherever_one_call_fails(tmp_path_factory):
    def fence(faults: Faults) -> None:
        with fresh_sqlite(tmp_path_factory.mktemp("rack")) as database:
            for rack in racked(database):
                rack.faults["a1"] = faults
                rack.bmc("a1")
                lose(rack)
                rack.run(20)
                assert rack.row("a1").powered_off
                assert not rack.pods.nodes["a1"].alive
                assert rack.switched == [("a1", False)]

    tried = 0
    for faults in every_failure(fence):
        fence(faults)
        tried += 1
    assert tried == 6  # look, off, look: each before and after


def test_liveness_and_fencing_are_woken_by_the_same():
    assert power.HOSTS == liveness.TOPIC
