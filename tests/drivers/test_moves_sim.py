"""Simulated guests move as real ones do: those that run meanwhile, and those that can't."""

from datetime import timedelta

import pytest

from arable.drivers.hypervisor.protocol import Journey
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.hypervisor.sim_rails import SimRails
from arable.drivers.simhost import SimHost
from arable.runtime.clock import VirtualClock
from drivers.contract_moves import A, B, MovesContract


class TestSim(MovesContract):
    @pytest.fixture(autouse=True)
    def _rails(self) -> None:
        self.clock, self.rails = VirtualClock(), SimRails(seconds=1.0)

    @pytest.fixture
    def here(self) -> SimHypervisor:
        return SimHypervisor(SimHost(clock=self.clock), rails=self.rails, host=A)

    @pytest.fixture
    def there(self) -> SimHypervisor:
        return SimHypervisor(SimHost(clock=self.clock), rails=self.rails, host=B)

    def reopened(self, driver) -> SimHypervisor:
        return SimHypervisor(driver._hardware, rails=self.rails, host=driver._host)

    def wait_until(self, condition, what) -> None:
        for _ in range(10):
            if condition():
                return
            self.clock.wait(timedelta(seconds=0.5))
        raise AssertionError(what)

    def closed(self) -> SimHypervisor:
        return SimHypervisor(SimHost(clock=self.clock))


class TestSimStill(TestSim):
    @pytest.fixture(autouse=True)
    def _still(self, _rails) -> None:
        self.rails.live = False

    def test_it_stands_still_from_the_beginning(self, here, there, guest) -> None:
        here.ensure(guest)
        here.send(guest.machine, Journey(epoch=2, target=B, address=there.receive(guest, 2, A)))
        assert here.guests()[guest.machine].still
        assert here.passage(guest.machine).still
