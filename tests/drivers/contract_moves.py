"""What every hypervisor driver that moves guests must do, judged on each of them, with two hosts.

Guests here have no disks, or disks that both hosts reach: whose they are is nobody's business here. A driver never
lets a guest run by itself once all of it has gone over.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from arable.domain.errors import CloudError, Conflict, Unavailable
from arable.domain.ids import HostId
from arable.drivers.hypervisor.protocol import (
    Guest,
    GuestPower,
    Hypervisor,
    Journey,
    Moves,
    Passage,
    PassageState,
)
from drivers import make_drivers as make

A, B, C = HostId("host-a"), HostId("host-b"), HostId("host-c")


class Movable(Hypervisor, Moves):
    """Both."""


class MovesContract:
    """Promises of `Moves`."""

    @pytest.fixture
    def here(self) -> Movable:
        raise AssertionError("a subclass says which driver is judged; its host is A")

    @pytest.fixture
    def there(self) -> Movable:
        raise AssertionError("a subclass gives one on another host, which is B")

    @pytest.fixture
    def guest(self) -> Guest:
        """One that both can run."""
        return make.guest()

    def reopened(self, driver: Movable) -> Movable:
        """Another driver object for the same host."""
        raise AssertionError("a subclass says how a driver is made anew")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        make.wait_until(condition, what)

    def state(self, driver: Movable, guest: Guest) -> PassageState | None:
        found = driver.passage(guest.machine)
        return found.state if found else None

    def gone_over(self, here: Movable, there: Movable, guest: Guest, epoch: int = 2) -> Passage:
        """All of it is over, and neither runs it."""
        here.ensure(guest)
        address = there.receive(guest, epoch, A)
        here.send(guest.machine, Journey(epoch=epoch, target=B, address=address))
        over = (PassageState.COMPLETE, PassageState.FAILED)
        self.wait_until(lambda: self.state(here, guest) in over, "all of it to be over")
        found = here.passage(guest.machine)
        assert found
        assert found.state is PassageState.COMPLETE, found.told
        return found

    def goes_on(self, here: Movable, guest: Guest) -> None:
        """What failed is all here, and runs when it is told to, if it did not all the time."""
        self.wait_until(lambda: self.state(here, guest) is PassageState.FAILED, "it to fail")
        found = here.passage(guest.machine)
        assert found
        if found.still:
            here.go_on(guest.machine)
        self.wait_until(lambda: not here.guests()[guest.machine].still, "it to go on")
        assert here.guests()[guest.machine].power is GuestPower.RUNNING

    def test_what_is_awaited_does_not_run_and_is_told_from_what_does(
        self, here, there, guest
    ) -> None:
        assert there.passage(guest.machine) is None
        address = there.receive(guest, 2, A)
        assert address.rpartition(":")[2].isdecimal()
        assert there.receive(guest, 2, A) == address
        assert there.guests()[guest.machine].power is GuestPower.ARRIVING
        found = there.passage(guest.machine)
        assert (found.epoch, found.arriving, found.state) == (2, True, PassageState.WAITING)
        with pytest.raises(Conflict):
            there.ensure(guest)
        with pytest.raises(Conflict):
            there.arrive(guest)
        there.remove(guest.machine)
        assert guest.machine not in there.guests()
        assert there.passage(guest.machine) is None

    def test_when_all_is_over_neither_runs_it_until_one_is_told_to(
        self, here, there, guest
    ) -> None:
        found = self.gone_over(here, there, guest)
        assert (found.epoch, found.arriving) == (2, False)
        self.wait_until(lambda: here.guests()[guest.machine].still, "the one here to stand still")
        assert here.guests()[guest.machine].power is GuestPower.RUNNING
        assert there.guests()[guest.machine].power is GuestPower.ARRIVING
        here.send(guest.machine, Journey(epoch=2, target=B, address="nowhere:1"))
        assert self.state(here, guest) is PassageState.COMPLETE, "said twice"
        here.remove(guest.machine)
        there.arrive(guest)
        self.wait_until(
            lambda: there.guests()[guest.machine].power is GuestPower.RUNNING,
            "the one there to run",
        )
        there.arrive(guest)
        assert not there.guests()[guest.machine].still
        assert there.passage(guest.machine) is None
        again = self.reopened(there)
        assert again.guests() == there.guests()
        again.stop(guest.machine, force=True)
        assert again.guests()[guest.machine].power is GuestPower.OFF, "it is defined there"

    def test_what_has_gone_over_can_go_on_here_all_the_same(self, here, there, guest) -> None:
        self.gone_over(here, there, guest)
        here.go_on(guest.machine)
        self.goes_on(here, guest)
        there.remove(guest.machine)
        address = there.receive(guest, 3, A)
        here.send(guest.machine, Journey(epoch=3, target=B, address=address))
        self.wait_until(
            lambda: self.state(here, guest) is PassageState.COMPLETE, "the second attempt"
        )

    def test_where_nobody_waits_nothing_goes_and_the_guest_goes_on(self, here, guest) -> None:
        here.ensure(guest)
        here.send(guest.machine, Journey(epoch=2, target=B, address="127.0.0.1:9"))
        self.goes_on(here, guest)
        assert here.passage(guest.machine).told

    def test_who_is_not_awaited_or_not_who_was_asked_for_gets_nothing(
        self, here, there, guest
    ) -> None:
        here.ensure(guest)
        address = there.receive(guest, 2, C)
        here.send(guest.machine, Journey(epoch=2, target=B, address=address))
        self.goes_on(here, guest)
        address = there.receive(guest, 3, A)
        here.send(guest.machine, Journey(epoch=3, target=C, address=address))
        self.goes_on(here, guest)

    def test_a_copy_whose_original_ends_on_the_way_is_none(self, here, there, guest) -> None:
        here.ensure(guest)
        address = there.receive(guest, 2, A)
        slow = Journey(epoch=2, target=B, address=address, bytes_per_second=1 << 16)
        here.send(guest.machine, slow)
        here.remove(guest.machine)
        self.wait_until(
            lambda: (
                guest.machine not in there.guests()
                or self.state(there, guest) is PassageState.WAITING
            ),
            "the copy to end, or not to have begun",
        )

    def test_a_guest_that_runs_is_not_received(self, here, there, guest) -> None:
        there.ensure(guest)
        with pytest.raises(Conflict):
            there.receive(guest, 2, A)
        assert there.guests()[guest.machine].power is GuestPower.RUNNING

    def test_what_can_never_run_is_not_awaited(self, there, guest) -> None:
        with pytest.raises(CloudError):
            there.receive(replace(guest, memory_mib=1 << 40), 2, A)
        assert guest.machine not in there.guests()

    def test_who_gives_an_attempt_up_has_the_guest_go_on(self, here, there, guest) -> None:
        here.ensure(guest)
        address = there.receive(guest, 2, A)
        slow = Journey(epoch=2, target=B, address=address, bytes_per_second=1 << 16)
        here.send(guest.machine, slow)
        assert self.state(here, guest) is PassageState.MOVING
        here.go_on(guest.machine)
        self.goes_on(here, guest)

    def test_two_of_a_kind_say_the_same(self, here, there) -> None:
        assert here.kin == there.kin != ""

    def test_a_host_without_a_way_in_says_so(self, guest) -> None:
        closed = self.closed()
        assert closed.kin == ""
        with pytest.raises(Unavailable):
            closed.receive(guest, 2, A)

    def closed(self) -> Movable:
        """A driver that has none."""
        raise AssertionError("a subclass makes one")
