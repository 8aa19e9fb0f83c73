"""The simulated appliance runtime keeps the contract."""

import pytest

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


def test_a_router_knows_the_leases_it_was_given() -> None:
    hardware = SimHost()
    appliances = SimAppliances(hardware, SimNetwork(hardware))
    wish = make.appliance()
    lease = make.lease(wish.network)
    appliances.ensure(wish, [lease])
    assert hardware.appliances[wish.network].leases == {lease.nic: lease}
    appliances.ensure(wish, [])
    assert hardware.appliances[wish.network].leases == {}
