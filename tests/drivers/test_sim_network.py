"""The simulated network keeps the contract."""

import pytest

from arable.domain.errors import Conflict
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost
from drivers import make_drivers as make
from drivers.contract_network import NetworkContract


class TestSimNetwork(NetworkContract):
    @pytest.fixture
    def network(self) -> SimNetwork:
        return SimNetwork(SimHost())

    def reopened(self, network):
        return SimNetwork(network._hardware)


def test_a_device_belongs_to_one_port() -> None:
    network = SimNetwork(SimHost())
    network.ensure(make.tap(device="tap0"))
    with pytest.raises(Conflict):
        network.ensure(make.tap(device="tap0"))
    assert len(network.ports()) == 1
