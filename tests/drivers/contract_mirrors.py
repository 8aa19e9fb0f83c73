"""What every hypervisor driver that mirrors disks of running guests must do, judged on each of them.

The guest's disk is at one place, and there is another one of its size. Who may use which is nobody's business here.
"""

from collections.abc import Callable

import pytest

from arable.domain.errors import CloudError, NotFound
from arable.drivers.hypervisor.protocol import (
    Guest,
    GuestDisk,
    Hypervisor,
    Mirrors,
    MirrorState,
)
from drivers import make_drivers as make


class Mirroring(Hypervisor, Mirrors):
    """Both."""


class MirrorsContract:
    """Promises of `Mirrors`."""

    @pytest.fixture
    def driver(self) -> Mirroring:
        raise AssertionError("a subclass says which driver is judged")

    @pytest.fixture
    def guest(self) -> Guest:
        raise AssertionError("a subclass gives one with a far disk")

    @pytest.fixture
    def there(self) -> GuestDisk:
        raise AssertionError("a subclass gives another place for that disk")

    def lose_source(self) -> None:
        """The first place is served no more."""
        raise AssertionError("a subclass does that")

    def lose_target(self) -> None:
        """The other place is served no more."""
        raise AssertionError("a subclass does that")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        make.wait_until(condition, what)

    def state(self, driver: Mirroring, guest: Guest, *disks: GuestDisk) -> MirrorState:
        return driver.mirrored(guest.machine, disks).state

    def at_both(self, driver: Mirroring, guest: Guest, there: GuestDisk) -> None:
        driver.ensure(guest)
        for _ in range(2):
            driver.mirror(guest.machine, [there], 0)
        ready = MirrorState.READY
        self.wait_until(lambda: self.state(driver, guest, there) is ready, "a whole copy")

    def test_a_guest_goes_on_where_all_is_when_the_first_place_is_gone(
        self, driver, guest, there
    ) -> None:
        self.at_both(driver, guest, there)
        assert not driver.guests()[guest.machine].still
        driver.hold(guest.machine)
        found = driver.mirrored(guest.machine, [there])
        assert (found.state, found.still, found.left_bytes) == (MirrorState.READY, True, 0)
        assert found.copied_bytes > 0
        self.lose_source()
        for _ in range(2):
            driver.pivot(guest.machine, [there])
        found = driver.mirrored(guest.machine, [there])
        assert (found.state, found.still) == (MirrorState.THERE, False)
        assert not driver.mirroring(guest.machine)

    def test_a_guest_goes_on_with_what_it_had_when_that_is_wanted(
        self, driver, guest, there
    ) -> None:
        self.at_both(driver, guest, there)
        assert driver.mirroring(guest.machine)
        driver.hold(guest.machine)
        for _ in range(2):
            driver.unmirror(guest.machine, [there])
        found = driver.mirrored(guest.machine, [there])
        assert (found.state, found.still) == (MirrorState.NONE, False)
        assert not driver.mirroring(guest.machine)
        assert self.state(driver, guest, guest.disks[0]) is MirrorState.THERE

    def test_a_place_that_is_lost_is_seen_and_the_guest_runs_on(self, driver, guest, there) -> None:
        driver.ensure(guest)
        driver.mirror(guest.machine, [there], 1 << 16)
        self.lose_target()
        none = MirrorState.NONE
        self.wait_until(lambda: self.state(driver, guest, there) is none, "the copy to break off")
        assert not driver.guests()[guest.machine].still

    def test_nothing_goes_to_where_nobody_is(self, driver, guest, there) -> None:
        driver.ensure(guest)
        self.lose_target()
        with pytest.raises(CloudError):
            driver.mirror(guest.machine, [there], 0)
        assert self.state(driver, guest, there) is MirrorState.NONE

    def test_a_guest_that_is_not_here_is_none(self, driver, guest, there) -> None:
        with pytest.raises(NotFound):
            driver.mirrored(guest.machine, [there])
