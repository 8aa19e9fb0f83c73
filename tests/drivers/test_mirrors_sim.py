"""Simulated guests' disks go to other places as real ones do."""

from datetime import timedelta

import pytest

from arable.domain.manifest import PartFormat
from arable.drivers.hypervisor.protocol import Guest, GuestDisk, NbdSource
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.simhost import SimHost
from arable.runtime.clock import VirtualClock
from drivers import make_drivers as make
from drivers.contract_mirrors import MirrorsContract


def disk(address: str) -> GuestDisk:
    at = NbdSource(address=address, port=10809, name="volume-v.e1", server="host-s")
    return GuestDisk(format=PartFormat.RAW, serial="v", bytes=1 << 20, nbd=at)


class TestSim(MirrorsContract):
    @pytest.fixture(autouse=True)
    def _places(self) -> None:
        self.clock, self.served = VirtualClock(), {"one": "written", "other": None}
        self.hardware = SimHost(clock=self.clock)
        self.hardware.reaches = lambda at: at.address in self.served
        self.hardware.size = lambda _at: 1 << 20
        self.hardware.load = lambda at: self.served[at.address]
        self.hardware.store = lambda at, what: self.served.__setitem__(at.address, what)

    @pytest.fixture
    def driver(self) -> SimHypervisor:
        return SimHypervisor(self.hardware)

    @pytest.fixture
    def guest(self) -> Guest:
        return make.guest(disks=(disk("one"),))

    @pytest.fixture
    def there(self) -> GuestDisk:
        return disk("other")

    def lose_source(self) -> None:
        del self.served["one"]

    def lose_target(self) -> None:
        del self.served["other"]

    def wait_until(self, condition, what) -> None:
        for _ in range(10):
            if condition():
                return
            self.clock.wait(timedelta(seconds=1))
        raise AssertionError(what)

    def test_what_is_written_is_at_both_places_once_all_is(self, driver, guest, there) -> None:
        driver.ensure(guest)
        driver.mirror(guest.machine, [there], 0)
        assert self.hardware.put(guest.machine, "more")
        assert self.served == {"one": "more", "other": None}
        self.at_both(driver, guest, there)
        assert self.served == {"one": "more", "other": "more"}
        assert self.hardware.put(guest.machine, "most")
        assert self.served == {"one": "most", "other": "most"}
        driver.hold(guest.machine)
        assert not self.hardware.put(guest.machine, "nothing")
