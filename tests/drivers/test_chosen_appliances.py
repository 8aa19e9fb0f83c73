"""One host, two runtimes: a network's router is in the one that was chosen, and never in both."""

from dataclasses import replace

import pytest

from arable.domain.errors import Unavailable
from arable.domain.router_runtime import RouterRuntime
from arable.drivers.appliance.chosen import SETTLES_SECONDS, ChosenAppliances
from arable.drivers.appliance.protocol import Appliances
from arable.drivers.appliance.sim import SimAppliances
from arable.drivers.network.protocol import Network
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost
from drivers import make_drivers as make
from drivers.contract_appliance import ApplianceContract

NAMESPACE, VM = RouterRuntime.NAMESPACE, RouterRuntime.VM


class Slow(SimAppliances):
    def settles_seconds(self, network) -> float:
        return 77.0


@pytest.fixture
def parts() -> dict[RouterRuntime, SimAppliances]:
    one, other = SimHost(), SimHost()
    return {NAMESPACE: SimAppliances(one, SimNetwork(one)), VM: Slow(other, SimNetwork(other))}


@pytest.fixture
def both(parts) -> ChosenAppliances:
    return ChosenAppliances(parts)


def where(parts: dict[RouterRuntime, SimAppliances]) -> list[RouterRuntime]:
    return [kind for kind, runtime in parts.items() if runtime.appliances()]


def test_it_is_where_it_was_chosen_to_be_and_moves_when_that_changes(both, parts) -> None:
    wish = make.appliance()
    for generation, kind in enumerate((NAMESPACE, VM, VM, NAMESPACE), 1):
        both.ensure(replace(wish, generation=generation, runtime=kind), [])
        assert where(parts) == [kind]
        assert both.appliances()[wish.network].generation == generation
    both.remove(wish.network)
    assert where(parts) == []


def test_nothing_begins_in_one_before_it_has_ended_in_the_other(both, parts) -> None:
    wish = make.appliance()
    both.ensure(wish, [])

    def fail(_network) -> None:
        raise Unavailable("it can't be ended")

    parts[NAMESPACE].remove = fail
    with pytest.raises(Unavailable):
        both.ensure(replace(wish, generation=2, runtime=VM), [])
    assert where(parts) == [NAMESPACE]


def test_each_takes_its_own_time(both) -> None:
    wish = make.appliance()
    both.ensure(wish, [])
    assert both.settles_seconds(wish.network) == SETTLES_SECONDS
    both.ensure(replace(wish, runtime=VM), [])
    assert both.settles_seconds(wish.network) == 77.0


def test_a_runtime_that_is_not_here_is_told() -> None:
    hardware = SimHost()
    alone = ChosenAppliances({NAMESPACE: SimAppliances(hardware, SimNetwork(hardware))})
    with pytest.raises(Unavailable, match="virtual machines"):
        alone.ensure(make.appliance(runtime=VM), [])


class TestChosen(ApplianceContract):
    """Where one of the two does all, both together keep the contract."""

    @pytest.fixture
    def network(self) -> Network:
        self.hardware = SimHost()
        return SimNetwork(self.hardware)

    @pytest.fixture
    def appliances(self, network) -> Appliances:
        other = SimHost()
        self.parts = {
            NAMESPACE: SimAppliances(self.hardware, network),
            VM: SimAppliances(other, SimNetwork(other)),
        }
        return ChosenAppliances(self.parts)

    def reopened(self, appliances):
        return ChosenAppliances(self.parts)

    def break_a_part(self, appliances, network):
        self.hardware.break_appliance(network)

    def silence(self, appliances, member):
        self.hardware.answers = lambda nic: nic != member
