"""The simulated appliance runtime keeps the contract."""

import pytest

from arable.domain.manifest import Seed
from arable.drivers.appliance.sim import SimAppliances
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost
from drivers import make_drivers as make
from drivers.contract_appliance import ApplianceContract


class TestSimAppliances(ApplianceContract):
    @pytest.fixture
    def network(self) -> SimNetwork:
        return SimNetwork(SimHost())

    @pytest.fixture
    def appliances(self, network) -> SimAppliances:
        return SimAppliances(network._hardware, network)

    def reopened(self, appliances):
        return SimAppliances(appliances._hardware, appliances._network)

    def break_a_part(self, appliances, network):
        appliances._hardware.break_appliance(network)

    def silence(self, appliances, member):
        appliances._hardware.answers = lambda nic: nic != member


def test_a_router_knows_the_leases_it_was_given() -> None:
    hardware = SimHost()
    appliances = SimAppliances(hardware, SimNetwork(hardware))
    wish = make.appliance()
    lease = make.lease(wish.network)
    appliances.ensure(wish, [lease])
    assert hardware.appliances[wish.network].leases == {lease.nic: lease}
    appliances.ensure(wish, [])
    assert hardware.appliances[wish.network].leases == {}


def test_a_router_tells_each_machine_its_own_data() -> None:
    hardware = SimHost()
    appliances = SimAppliances(hardware, SimNetwork(hardware))
    wish = make.appliance()
    told = Seed(meta_data="instance-id: a\n", user_data="mine")
    one = make.lease(wish.network, seed=told)
    appliances.ensure(wish, [one])
    assert appliances.answer(wish.network, one.address, "/latest/user-data") == "mine"
    assert appliances.answer(wish.network, "10.1.1.99", "/latest/user-data") is None
