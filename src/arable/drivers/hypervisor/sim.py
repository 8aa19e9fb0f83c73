"""A hypervisor whose guests are values. Honest about what a real one refuses: memory, missing disks and ports."""

from collections.abc import Mapping, Sequence

from arable.domain.errors import BadInput, NoRoom, Unavailable
from arable.domain.ids import MachineId
from arable.domain.manifest import GuestStats
from arable.drivers.faults import Faults
from arable.drivers.hypervisor.protocol import Guest, GuestFound
from arable.drivers.simhost import SimHost

_BUSY = 0.05  # of each virtual CPU, all the time


class SimHypervisor:
    """`Hypervisor` and `HasStats` over a `SimHost`. A guest starts in an instant and obeys unless told otherwise."""

    name = "sim"

    def __init__(self, hardware: SimHost, faults: Faults | None = None) -> None:
        self._hardware = hardware
        self._faults = faults or Faults()

    def guests(self) -> Mapping[MachineId, GuestFound]:
        return self._hardware.found.copy()

    def ensure(self, guest: Guest) -> None:
        kept = self._hardware.guests.get(guest.machine)
        runs = kept.runs if kept else None
        restart = runs is not None and runs.boots < guest.boots
        if runs is None or restart:
            self._check(guest, runs.memory_mib if runs else 0)
        elif kept and kept.guest == guest:
            return
        with self._faults.around(f"ensure {guest.machine}"):
            self._hardware.define(guest)
            if restart:
                self._hardware.off(guest.machine)
            if runs is None or restart:
                self._hardware.start(guest.machine)

    def stop(self, machine: MachineId, *, force: bool) -> None:
        kept = self._hardware.guests.get(machine)
        if kept is None or kept.runs is None:
            return
        with self._faults.around(f"stop {machine}"):
            if force or kept.obeys:
                self._hardware.off(machine)
            else:
                kept.asked = True

    def remove(self, machine: MachineId) -> None:
        if machine in self._hardware.guests:
            with self._faults.around(f"remove {machine}"):
                self._hardware.forget(machine)

    def stats(self) -> Sequence[GuestStats]:
        now = self._hardware.clock.monotonic()
        return [
            GuestStats(
                machine=machine,
                cpu_ns=int((now - kept.since) * kept.runs.cpus * _BUSY * 1e9),
                memory_mib=kept.runs.memory_mib,
            )
            for machine, kept in self._hardware.guests.items()
            if kept.runs
        ]

    def _check(self, guest: Guest, freed_mib: int) -> None:
        if guest.cpus < 1 or guest.memory_mib < 1:
            raise BadInput(f"{guest.machine} has no CPU or no memory")
        free = self._hardware.memory_mib - self._hardware.memory_used_mib + freed_mib
        if guest.memory_mib > free:
            raise NoRoom(f"{guest.machine} needs {guest.memory_mib} MiB, {free} MiB are free here")
        for disk in guest.disks:
            if disk.nbd is None and disk.path not in self._hardware.files:
                raise Unavailable(f"{guest.machine}: no such disk: {disk.path.name}")
            if disk.nbd and not self._hardware.reaches(disk.nbd):
                raise Unavailable(f"{guest.machine}: {disk.nbd.name} is not served to this host")
        for port in guest.ports:
            if port.device not in self._hardware.devices:
                raise Unavailable(f"{guest.machine}: no such port: {port.device}")
