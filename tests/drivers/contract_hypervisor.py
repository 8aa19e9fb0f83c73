"""What every hypervisor driver must do, judged on each of them.

A test class for a driver inherits `HypervisorContract` and overrides the fixture `hypervisor` and the hooks.
What only some drivers can do is asked with `isinstance` (`HasConsole`, `HasStats`). Nothing here supposes that
a guest starts or stops in an instant: every expectation goes through `wait_until`.
"""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from arable.domain.errors import BadInput, Conflict, NoRoom, NotFound, Unavailable
from arable.domain.ids import MachineId
from arable.domain.manifest import PartFormat
from arable.domain.units import MIB
from arable.drivers.hypervisor.protocol import (
    Guest,
    GuestDisk,
    GuestPower,
    HasConsole,
    HasStats,
    Hypervisor,
    KeepsDisks,
)
from arable.drivers.storage import snapshots
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

    @pytest.fixture
    def make_disk(self, tmp_path: Path, hypervisor: Hypervisor) -> Callable[[int], GuestDisk]:
        """Makes further disks."""

        def made(position: int) -> GuestDisk:
            return replace(make.blank_disk(tmp_path), position=position)

        return made

    def test_disks_come_and_go_while_the_guest_runs(
        self, hypervisor, make_guest, make_disk
    ) -> None:
        one, two = make_disk(1), make_disk(3)
        guest = self.started(hypervisor, make_guest())
        before = self.incarnation(hypervisor, guest.machine)
        first = guest.disks
        for generation, further in enumerate([(one,), (one, two), (two,), (two,), ()], 2):
            wanted = replace(guest, generation=generation, disks=(*first, *further))

            def like(wanted: Guest = wanted) -> bool:
                hypervisor.ensure(wanted)
                return hypervisor.guests()[wanted.machine].generation == wanted.generation

            self.wait_until(like, f"the guest to have {len(further)} disks")
            found = self.further_disks(hypervisor, guest.machine)
            assert found == {disk.serial for disk in further}
        assert hypervisor.guests()[guest.machine].power is GuestPower.RUNNING
        assert self.incarnation(hypervisor, guest.machine) == before

    def test_a_disk_that_is_not_there_leaves_the_guest_as_it_was(
        self, hypervisor, make_guest, make_disk
    ) -> None:
        guest = self.started(hypervisor, make_guest())
        absent = replace(make_disk(1), path=Path("/nowhere/disk"))
        with pytest.raises((Unavailable, NotFound, BadInput, Conflict)):
            hypervisor.ensure(replace(guest, generation=2, disks=(*guest.disks, absent)))
        found = hypervisor.guests()[guest.machine]
        assert (found.generation, found.power) == (1, GuestPower.RUNNING)
        hypervisor.ensure(replace(guest, generation=3))
        assert hypervisor.guests()[guest.machine].generation == 3

    def test_disks_grow_and_change_limits_while_the_guest_runs_and_never_shrink(
        self, hypervisor, make_guest, make_disk
    ) -> None:
        first, second = make_disk(0), make_disk(2)
        guest = self.started(hypervisor, make_guest(disks=(first, second)))
        before = self.incarnation(hypervisor, guest.machine)
        for generation, mib, seen in ((2, 8, 8), (3, 4, 8), (4, 0, 8)):
            disks = tuple(
                replace(disk, bytes=mib * MIB, iops=100 * mib) for disk in (first, second)
            )
            hypervisor.ensure(replace(guest, generation=generation, disks=disks))
            assert hypervisor.guests()[guest.machine].generation == generation
            for disk in (first, second):
                assert self.disk_bytes(hypervisor, guest.machine, disk) == seen * MIB
                assert self.disk_iops(hypervisor, guest.machine, disk) == 100 * mib
        assert self.incarnation(hypervisor, guest.machine) == before

    def disk_bytes(self, hypervisor: Hypervisor, machine: MachineId, disk: GuestDisk) -> int:
        """How large that disk is to the guest that runs."""
        raise AssertionError("a subclass says how a guest's disks are seen")

    def disk_iops(self, hypervisor: Hypervisor, machine: MachineId, disk: GuestDisk) -> int:
        """How often a second the guest may use that disk now."""
        raise AssertionError("a subclass says how a guest's disks are seen")

    def further_disks(self, hypervisor: Hypervisor, machine: MachineId) -> set[str]:
        """The serials of those that a running guest really has."""
        raise AssertionError("a subclass says how a guest's disks are seen")

    def test_disks_keep_what_is_on_them_while_the_guest_runs(
        self, hypervisor, make_guest, make_disk
    ) -> None:
        assert isinstance(hypervisor, KeepsDisks)
        disks = tuple(self.as_volume(make_disk(position)) for position in (0, 2))
        guest = self.started(hypervisor, make_guest(disks=disks))
        before = self.incarnation(hypervisor, guest.machine)
        for disk in disks:
            hypervisor.snapshot(guest.machine, disk.serial, "snapshot-1")
            for _already in range(2):
                hypervisor.snapshot(guest.machine, disk.serial, "snapshot-2")
            for _already in range(2):
                hypervisor.snapshot(guest.machine, disk.serial, "snapshot-1", drop=True)
            assert self.disk_snapshots(hypervisor, disk) == {"snapshot-2"}
        assert self.incarnation(hypervisor, guest.machine) == before
        with pytest.raises(NotFound):
            hypervisor.snapshot(guest.machine, "another", "snapshot-1")
        hypervisor.stop(guest.machine, force=True)
        self.sees(hypervisor, guest.machine, GuestPower.OFF)
        with pytest.raises(NotFound):
            hypervisor.snapshot(guest.machine, disks[0].serial, "snapshot-1")

    def as_volume(self, disk: GuestDisk) -> GuestDisk:
        """The same in the format of volumes."""
        path = disk.path.with_suffix(".qcow2")
        words = ["qemu-img", "create", "-q", "-f", "qcow2", str(path), "4M"]
        subprocess.run(words, check=True, capture_output=True)
        return replace(disk, path=path, format=PartFormat.QCOW2)

    def disk_snapshots(self, hypervisor: Hypervisor, disk: GuestDisk) -> set[str]:
        """What that disk's file keeps."""
        return set(snapshots.names(disk.path))

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
