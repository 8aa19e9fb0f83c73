"""What every hypervisor driver must do, judged on each of them.

A test class for a driver inherits `HypervisorContract` and overrides the fixture `hypervisor` and the hooks.
What only some drivers can do is asked with `isinstance` (`HasConsole`, `HasStats`). Nothing here supposes that
a guest starts or stops in an instant: every expectation goes through `wait_until`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from arable.domain.errors import BadInput, NoRoom, NotFound
from arable.domain.ids import MachineId
from arable.drivers.hypervisor.protocol import (
    Guest,
    GuestPower,
    HasConsole,
    HasStats,
    Hypervisor,
)
from drivers import make_drivers as make

MakeGuest = Callable[..., Guest]


class HypervisorContract:
    """Promises of `drivers/hypervisor/protocol.py`."""

    guests_obey = True
    """Whether the guests of `make_guest` shut down when asked to (they need an operating system for that)."""

    @pytest.fixture
    def hypervisor(self) -> Hypervisor:
        raise AssertionError("a subclass says which driver is judged")

    @pytest.fixture
    def make_guest(self, tmp_path: Path, hypervisor: Hypervisor) -> MakeGuest:
        """Makes guests that this driver can run: here with one blank disk each."""

        def made(**but: object) -> Guest:
            return make.guest(**{"disks": (make.blank_disk(tmp_path),)} | but)

        return made

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        make.wait_until(condition, what)

    def incarnation(self, hypervisor: Hypervisor, machine: MachineId) -> object:
        """A value that changes whenever the guest is started anew: a process id, a count of starts."""
        raise AssertionError("a subclass says how a restart is recognised")

    def crash(self, hypervisor: Hypervisor, machine: MachineId) -> None:
        """Make the guest go away without being asked, as a killed QEMU does."""
        raise AssertionError("a subclass says how a guest is crashed")

    def reopened(self, hypervisor: Hypervisor) -> Hypervisor:
        """Another driver object for the same host, as after a restart of the agent."""
        raise AssertionError("a subclass says how a driver is made anew")

    def started(self, hypervisor: Hypervisor, guest: Guest) -> Guest:
        hypervisor.ensure(guest)
        self.sees(hypervisor, guest.machine, GuestPower.RUNNING)
        return guest

    def sees(self, hypervisor: Hypervisor, machine: MachineId, power: GuestPower) -> None:
        self.wait_until(
            lambda: machine in (seen := hypervisor.guests()) and seen[machine].power is power,
            f"{machine} to be {power}",
        )

    def test_what_is_ensured_is_listed_and_runs(self, hypervisor, make_guest) -> None:
        guest = self.started(hypervisor, make_guest(generation=7, boots=3))
        found = hypervisor.guests()[guest.machine]
        assert (found.machine, found.generation, found.boots) == (guest.machine, 7, 3)

    def test_saying_it_twice_does_not_start_it_twice(self, hypervisor, make_guest) -> None:
        guest = self.started(hypervisor, make_guest())
        before = self.incarnation(hypervisor, guest.machine)
        hypervisor.ensure(guest)
        assert len(hypervisor.guests()) == 1
        assert self.incarnation(hypervisor, guest.machine) == before

    def test_a_running_guest_is_left_running_when_its_definition_changes(
        self, hypervisor, make_guest
    ) -> None:
        guest = self.started(hypervisor, make_guest())
        before = self.incarnation(hypervisor, guest.machine)
        larger = make_guest(
            machine=guest.machine, generation=2, memory_mib=guest.memory_mib + 32, disks=guest.disks
        )
        hypervisor.ensure(larger)
        found = hypervisor.guests()[guest.machine]
        assert (found.generation, found.power) == (2, GuestPower.RUNNING)
        assert self.incarnation(hypervisor, guest.machine) == before

    def test_a_reboot_that_was_asked_for_restarts_the_guest(self, hypervisor, make_guest) -> None:
        guest = self.started(hypervisor, make_guest(boots=1))
        before = self.incarnation(hypervisor, guest.machine)
        again = make_guest(machine=guest.machine, generation=2, boots=2, disks=guest.disks)
        self.started(hypervisor, again)
        assert hypervisor.guests()[guest.machine].boots == 2
        assert self.incarnation(hypervisor, guest.machine) != before

    def test_pulling_the_plug_works_at_once_and_keeps_the_definition(
        self, hypervisor, make_guest
    ) -> None:
        guest = self.started(hypervisor, make_guest(generation=4))
        hypervisor.stop(guest.machine, force=True)
        found = hypervisor.guests()[guest.machine]
        assert (found.generation, found.power) == (4, GuestPower.OFF)

    def test_a_guest_that_is_asked_to_shut_down_does(self, hypervisor, make_guest) -> None:
        guest = self.started(hypervisor, make_guest())
        hypervisor.stop(guest.machine, force=False)
        if self.guests_obey:
            self.sees(hypervisor, guest.machine, GuestPower.OFF)
        assert guest.machine in hypervisor.guests()

    def test_a_stopped_guest_can_be_started_again(self, hypervisor, make_guest) -> None:
        guest = self.started(hypervisor, make_guest())
        hypervisor.stop(guest.machine, force=True)
        self.started(hypervisor, guest)

    def test_a_crash_is_told_from_a_shutdown_and_can_be_started_again(
        self, hypervisor, make_guest
    ) -> None:
        guest = self.started(hypervisor, make_guest())
        self.crash(hypervisor, guest.machine)
        self.sees(hypervisor, guest.machine, GuestPower.CRASHED)
        self.started(hypervisor, guest)

    def test_a_removed_guest_is_gone_even_if_it_ran(self, hypervisor, make_guest) -> None:
        guest = self.started(hypervisor, make_guest())
        for _ in range(2):
            hypervisor.remove(guest.machine)
            assert guest.machine not in hypervisor.guests()
        assert all(disk.path.exists() or not disk.path.is_absolute() for disk in guest.disks)

    def test_absent_guests_are_nothing_to_stop_or_remove(self, hypervisor) -> None:
        nobody = MachineId(make.fresh("machine"))
        hypervisor.stop(nobody, force=False)
        hypervisor.stop(nobody, force=True)
        hypervisor.remove(nobody)
        assert nobody not in hypervisor.guests()

    def test_guests_do_not_touch_each_other(self, hypervisor, make_guest) -> None:
        kept = self.started(hypervisor, make_guest(name="a"))
        other = self.started(hypervisor, make_guest(name="a"))  # names may be equal, ids never are
        before = self.incarnation(hypervisor, kept.machine)
        hypervisor.stop(other.machine, force=True)
        hypervisor.remove(other.machine)
        assert hypervisor.guests()[kept.machine].power is GuestPower.RUNNING
        assert self.incarnation(hypervisor, kept.machine) == before

    @pytest.mark.parametrize("absurd", [{"cpus": 0}, {"memory_mib": 1 << 40}])
    def test_what_can_never_run_is_refused_and_leaves_nothing(
        self, hypervisor, make_guest, absurd
    ) -> None:
        guest = make_guest(**absurd)
        with pytest.raises((NoRoom, BadInput)):
            hypervisor.ensure(guest)
        assert guest.machine not in hypervisor.guests()

    def test_guests_outlive_the_driver_object(self, hypervisor, make_guest) -> None:
        running = self.started(hypervisor, make_guest(generation=5, boots=2))
        stopped = self.started(hypervisor, make_guest(generation=6))
        hypervisor.stop(stopped.machine, force=True)
        before = self.incarnation(hypervisor, running.machine)
        anew = self.reopened(hypervisor)
        assert dict(anew.guests()) == dict(hypervisor.guests())
        anew.ensure(running)
        assert self.incarnation(anew, running.machine) == before

    def test_a_running_guest_has_a_console_and_a_stopped_one_has_not(
        self, hypervisor, make_guest
    ) -> None:
        guest = self.started(hypervisor, make_guest())
        if not isinstance(hypervisor, HasConsole):
            return
        self.wait_until(hypervisor.console(guest.machine).is_socket, "the console's socket")
        hypervisor.stop(guest.machine, force=True)
        with pytest.raises(NotFound):
            hypervisor.console(guest.machine)
        assert hypervisor.console_log(guest.machine).name

    def test_running_guests_alone_are_counted(self, hypervisor, make_guest) -> None:
        running = self.started(hypervisor, make_guest())
        stopped = self.started(hypervisor, make_guest())
        hypervisor.stop(stopped.machine, force=True)
        if isinstance(hypervisor, HasStats):
            (stats,) = hypervisor.stats()
            assert stats.machine == running.machine
            assert stats.cpu_ns >= 0
            assert stats.memory_mib >= 0
