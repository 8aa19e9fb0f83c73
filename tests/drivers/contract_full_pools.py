"""What a guest does whose disk's pool has no more room, judged on each hypervisor with a storage driver's real disks.

Disks are thin, so this happens to a guest in the middle of a write, and none of its neighbours may suffer from it.
"""

from collections.abc import Callable

import pytest

from arable.domain.ids import MachineId
from arable.drivers.hypervisor.protocol import Guest, GuestFound, GuestPower, Hypervisor
from drivers import make_drivers as make


class FullPoolsContract:
    """Promises of `GuestFound.stalled` and `short`, and of `ensure` for such a guest."""

    @pytest.fixture
    def hypervisor(self) -> Hypervisor:
        raise AssertionError("a subclass says which driver is judged")

    @pytest.fixture
    def guest(self) -> Guest:
        raise AssertionError(
            "a subclass gives one with a thin disk, and an operating system to write"
        )

    @pytest.fixture
    def neighbour(self) -> Guest:
        raise AssertionError(
            "a subclass gives one with a disk on the same pool, which writes nothing"
        )

    def fill(self) -> None:
        raise AssertionError("a subclass says how others take all the room of the pool")

    def clear(self) -> None:
        raise AssertionError("a subclass says how they give it back")

    def write(self, hypervisor: Hypervisor, machine: MachineId) -> None:
        """Have the guest write where it never did; it need not be over when this returns."""
        raise AssertionError("a subclass says how")

    def wrote_well(self, hypervisor: Hypervisor, machine: MachineId) -> bool:
        """Whether all of that is written, and the guest saw no error."""
        raise AssertionError("a subclass says how that is seen")

    def incarnation(self, hypervisor: Hypervisor, machine: MachineId) -> object:
        raise AssertionError("a subclass says how a restart is recognised")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        make.wait_until(condition, what)

    def found(self, hypervisor: Hypervisor, guest: Guest) -> GuestFound:
        return hypervisor.guests()[guest.machine]

    def test_a_guest_without_room_stands_still_alone_and_goes_on_where_it_stood(
        self, hypervisor: Hypervisor, guest: Guest, neighbour: Guest
    ) -> None:
        for each in (guest, neighbour):
            hypervisor.ensure(each)
        before = self.incarnation(hypervisor, guest.machine)
        self.fill()
        self.write(hypervisor, guest.machine)
        self.wait_until(lambda: self.found(hypervisor, guest).stalled, "the guest to stand still")
        seen = self.found(hypervisor, guest)
        assert (seen.power, seen.short, seen.still) == (GuestPower.RUNNING, True, False)
        assert not self.found(hypervisor, neighbour).stalled
        hypervisor.ensure(guest)  # there is no room yet
        self.wait_until(lambda: self.found(hypervisor, guest).stalled, "it to stand still again")
        self.clear()
        hypervisor.ensure(guest)
        self.wait_until(lambda: self.wrote_well(hypervisor, guest.machine), "all to be written")
        seen = self.found(hypervisor, guest)
        assert (seen.stalled, seen.short) == (False, False)
        assert self.incarnation(hypervisor, guest.machine) == before
