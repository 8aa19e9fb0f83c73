"""Routers in machines of their own keep the contract. The machines are threads; what a real one does is shown elsewhere."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from arable.domain.errors import BadInput, Unavailable
from arable.domain.ids import NetworkId
from arable.domain.inside import SELF, GuestAnswer, GuestAsk
from arable.domain.manifest import ApplianceSeen
from arable.domain.pair import Pair
from arable.drivers.appliance.vm import words
from arable.drivers.appliance.vm.driver import VmAppliances
from arable.drivers.network.protocol import PortKind
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers.contract_appliance import ApplianceContract
from drivers.router_machines import ThreadMachines


@pytest.fixture
def machines() -> Iterator[ThreadMachines]:
    made = ThreadMachines()
    yield made
    made.close()


@pytest.fixture
def hardware() -> SimHost:
    return SimHost(cpus=4, cpu_mhz=8000, memory_mib=4096)


@pytest.fixture
def folder(tmp_path_factory) -> Path:
    """Whatever a test is called, paths of sockets below it are short."""
    return tmp_path_factory.mktemp("vm")


@pytest.fixture
def routers(machines, hardware, folder) -> Iterator[VmAppliances]:
    made = driver(machines, hardware, folder)
    yield made
    made.close()


def driver(machines: ThreadMachines, hardware: SimHost, folder: Path) -> VmAppliances:
    return VmAppliances(folder / "vms", SimNetwork(hardware), machines, RealClock())


def runs(routers: VmAppliances, network: NetworkId) -> None:
    make.wait_until(lambda: routers.appliances()[network].running, "the router to run", 60)


class TestVmAppliances(ApplianceContract):
    @pytest.fixture
    def network(self, hardware):
        return SimNetwork(hardware)

    @pytest.fixture
    def appliances(self, routers, machines, hardware, folder) -> Iterator[VmAppliances]:
        self.machines, self.hardware, self.folder = machines, hardware, folder
        self.anew: list[VmAppliances] = []
        yield routers
        for each in self.anew:
            each.close()

    def reopened(self, appliances):
        appliances.close()
        self.anew.append(driver(self.machines, self.hardware, self.folder))
        return self.anew[-1]

    def break_a_part(self, appliances, network):
        inside = self.machines.inside[network].hardware
        held = inside.appliances[network]
        inside.appliances[network] = replace(
            held, seen=ApplianceSeen(network=network, generation=1, running=False, told="it broke")
        )

    def silence(self, appliances, member):
        for each in self.machines.inside.values():
            each.hardware.answers = lambda nic: nic != member


def test_a_folder_too_deep_for_sockets_is_refused_at_once(machines, hardware, tmp_path) -> None:
    with pytest.raises(BadInput, match="too long a path"):
        driver(machines, hardware, tmp_path / ("d" * 60))


def test_a_start_is_not_waited_for_and_a_change_is(routers, machines) -> None:
    wish = make.appliance()
    routers.ensure(wish, [])
    runs(routers, wish.network)
    routers.ensure(replace(wish, generation=2), [])
    assert routers.appliances()[wish.network].generation == 2
    assert machines.started == [wish.network]


def test_a_router_is_plugged_in_as_one_that_may_speak_for_others(
    routers, machines, hardware
) -> None:
    wish = make.appliance()
    routers.ensure(wish, [])
    assert {port.kind for port in hardware.ports.values()} == {PortKind.ROUTER}
    assert machines.cards[wish.network] == (1, 2)
    routers.ensure(replace(wish, generation=2, public=None), [])
    assert machines.cards[wish.network] == (1,)


def test_a_restart_ends_the_machine_and_nothing_else_does(routers, machines) -> None:
    wish = make.appliance()
    routers.ensure(wish, [])
    runs(routers, wish.network)
    routers.ensure(replace(wish, generation=2, domain="other.internal"), [])
    assert len(machines.started) == 1
    routers.ensure(replace(wish, generation=3, restarts=1), [])
    assert len(machines.started) == 2


def test_a_machine_that_was_lost_is_seen_and_started_anew(routers, machines) -> None:
    wish = make.appliance()
    routers.ensure(wish, [])
    runs(routers, wish.network)
    machines.remove(wish.network)
    seen = routers.appliances()[wish.network]
    assert (seen.running, seen.told) == (False, "its virtual machine does not run")
    routers.ensure(wish, [])
    runs(routers, wish.network)
    assert len(machines.started) == 2


def test_one_of_two_says_whether_it_leads(routers, machines) -> None:
    wish = make.appliance(pair=Pair(number=1, other=2))
    routers.ensure(wish, [])
    runs(routers, wish.network)
    inside = machines.inside[wish.network].hardware
    for leads in (False, True, False):
        inside.leads = lambda _wish, leads=leads: leads
        make.wait_until(
            lambda leads=leads: routers.appliances()[wish.network].standby is not leads,
            "its machine to say so",
        )
        assert routers.appliances()[wish.network].running


def test_what_the_router_can_not_be_is_told(routers, machines) -> None:
    wish = make.appliance()
    routers.ensure(wish, [])
    runs(routers, wish.network)
    machines.inside[wish.network].hardware.unroutable = "no room for rules"
    with pytest.raises(Unavailable, match="no room for rules"):
        routers.ensure(replace(wish, generation=2), [])
    assert routers.appliances()[wish.network].told == "no room for rules"


def test_a_machine_behind_it_asks_the_cloud_as_one_of_its_network(routers, machines) -> None:
    """A router that was taken over can't ask for machines of other networks."""
    wish, asked = make.appliance(), []

    def answer(ask: GuestAsk) -> GuestAnswer:
        asked.append(ask)
        return GuestAnswer(status=200, body="you")

    routers.relay(answer)
    routers.ensure(wish, [])
    runs(routers, wish.network)
    inside = machines.inside[wish.network].routers
    lie = GuestAsk(network=NetworkId("network-another"), asker="10.1.1.10", method="GET", path=SELF)
    assert inside._relay(lie).body == "you"
    assert [each.network for each in asked] == [wish.network]
    assert inside._relay(replace(lie, path="/v1/accounts")).status == 503
    assert inside._relay(replace(lie, token="x" * 10_000)).status == 503
    assert len(asked) == 1


def test_a_router_tells_figures_of_its_own_network_alone(routers, machines) -> None:
    wish = make.appliance()
    routers.ensure(wish, [])
    runs(routers, wish.network)
    strange = make.appliance().network.replace("network", "balancer")
    inside = machines.inside[wish.network]
    told = threading.Event()
    news = words.News(
        seen=ApplianceSeen(network=NetworkId("network-another"), generation=9, running=True),
        balancers=(words.BalancerSeen(id=strange),),
    )
    inside.resident._news = lambda: told.set() or news
    assert told.wait(60)
    make.wait_until(lambda: routers.appliances()[wish.network].generation == 9, "the news", 60)
    assert list(routers.appliances()) == [wish.network]
    assert not routers.balancers()


def test_half_a_sentence_harms_nothing(routers, machines) -> None:
    """What was said when the line broke comes first on the next one."""
    wish = make.appliance()
    routers.ensure(wish, [])
    runs(routers, wish.network)
    machines.inside[wish.network].write(b'{"type":"news","seen":{"netw\n\xff\xfe\n[]\n')
    routers.ensure(replace(wish, generation=2), [])
    assert routers.appliances()[wish.network].generation == 2
