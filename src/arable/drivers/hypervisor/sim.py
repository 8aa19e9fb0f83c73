"""A hypervisor whose guests are values. Honest about what a real one refuses: memory, missing disks and ports."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from arable.domain.errors import BadInput, Conflict, NoRoom, NotFound, Unavailable
from arable.domain.ids import HostId, MachineId, SnapshotId
from arable.domain.manifest import GuestStats
from arable.drivers.faults import Faults
from arable.drivers.hypervisor import sim_mirrors
from arable.drivers.hypervisor.protocol import (
    Guest,
    GuestDisk,
    GuestFound,
    GuestPower,
    Journey,
    Mirror,
    Passage,
    PassageState,
)
from arable.drivers.hypervisor.sim_rails import SimRails
from arable.drivers.simhost import SimGuest, SimHost
from arable.drivers.storage.sim_files import as_seen

_BUSY = 0.05  # of each virtual CPU, all the time


class SimHypervisor:
    """`Hypervisor`, `HasStats` and `Moves` over a `SimHost`. A guest starts in an instant and obeys unless told otherwise.

    Without `rails` none goes from here to another host; with them, this one is called `host` there.
    """

    name = "sim"

    def __init__(
        self,
        hardware: SimHost,
        faults: Faults | None = None,
        *,
        rails: SimRails | None = None,
        host: HostId = HostId("host-sim"),  # noqa: B008 - a text
    ) -> None:
        self._hardware = hardware
        self._faults = faults or Faults()
        self._rails = rails
        self._host = host

    def guests(self) -> Mapping[MachineId, GuestFound]:
        return self._hardware.found.copy()

    def ensure(self, guest: Guest) -> None:
        guest = as_seen(guest)
        kept = self._hardware.guests.get(guest.machine)
        if kept and kept.found.power is GuestPower.ARRIVING:
            raise Conflict(f"{guest.machine} is arriving here")
        runs = kept.runs if kept else None
        if runs:
            self._hardware.try_again(guest.machine)
        restart = runs is not None and runs.boots < guest.boots
        if runs is None or restart:
            self._check(guest, runs.memory_mib if runs else 0)
        elif kept and kept.guest == guest:
            return
        else:
            self._check_disks(guest, clings=kept is not None and kept.clings, runs=runs)
            self._check_ports(guest, clings=kept is not None and kept.clings, runs=runs)
        with self._faults.around(f"ensure {guest.machine}"):
            self._demand_same(guest.machine, kept, runs)
            if runs is None or restart:  # once more: we may have stood still meanwhile
                self._check(guest, runs.memory_mib if runs else 0)
            self._hardware.define(guest)
            if restart:
                self._hardware.off(guest.machine)
            if runs is None or restart:
                self._hardware.start(guest.machine)
            else:
                self._hardware.replug(guest)

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

    def set_password(self, machine: MachineId, user: str, hashed: str) -> None:
        kept = self._hardware.guests.get(machine)
        if kept is None or not kept.awake:
            raise Unavailable(f"{machine} does not run here")
        if not kept.has_agent:
            raise Unavailable("its guest agent does not answer")
        with self._faults.around(f"password {machine}"):
            kept.passwords[user] = hashed

    def snapshot(self, machine: MachineId, serial: str, name: str, *, drop: bool = False) -> None:
        kept = self._hardware.guests.get(machine)
        disks = kept.runs.disks if kept and kept.awake and kept.runs else ()
        disk = next((disk for disk in disks if disk.serial == serial), None)
        path = disk.path if disk and not disk.nbd else None
        shelf = self._hardware.mounted(disk.nbd) if disk and disk.nbd else None
        if shelf and disk and disk.nbd:
            with self._faults.around(f"{'drop' if drop else 'take'} {name}"):
                (shelf.drop if drop else shelf.take)(disk.nbd.volume, SnapshotId(name))
            return
        for pool in self._hardware.pools.values():
            for volume, found in pool.volumes.items():
                if found.path == path:
                    with self._faults.around(f"{'drop' if drop else 'take'} {name}"):
                        (pool.drop if drop else pool.take)(volume, SnapshotId(name))
                    return
        raise NotFound(f"{machine} does not run here with a disk {serial}")

    def stats(self) -> Sequence[GuestStats]:
        now = self._hardware.clock.monotonic()
        return [
            GuestStats(
                machine=machine,
                cpu_ns=int((now - kept.since) * kept.runs.cpus * _BUSY * 1e9),
                memory_mib=kept.runs.memory_mib,
                memory_told=True,
            )
            for machine, kept in self._hardware.guests.items()
            if kept.runs
        ]

    @property
    def kin(self) -> str:
        return self.name if self._rails else ""

    def passage(self, machine: MachineId) -> Passage | None:
        if self._rails:
            self._rails.turn()
        kept = self._hardware.guests.get(machine)
        found = kept.passage if kept else None
        if kept is None or found is None or found.arriving:
            return found
        if found.state is PassageState.COMPLETE and not kept.still:
            told = "all had gone over, and it was kept"
            return replace(found, state=PassageState.FAILED, told=told)
        return replace(found, still=kept.still)

    def receive(self, guest: Guest, epoch: int, source: HostId) -> str:
        guest = as_seen(guest)
        rails = self._opened()
        kept = self._hardware.guests.get(guest.machine)
        if kept and kept.runs:
            if kept.found.power is not GuestPower.ARRIVING:
                raise Conflict(f"{guest.machine} runs here")
            assert kept.passage
            if kept.passage.epoch == epoch:
                return kept.passage.address
            self._hardware.forget(guest.machine)
        self._check(guest, 0)
        with self._faults.around(f"receive {guest.machine}"):
            return rails.receive(self._hardware, self._host, guest, epoch, source)

    def send(self, machine: MachineId, journey: Journey) -> None:
        rails, found = self._opened(), self.passage(machine)
        if found and found.epoch == journey.epoch:
            return
        if found and found.state is PassageState.MOVING:
            raise Conflict(f"{machine} is on its way already")
        with self._faults.around(f"send {machine}"):
            rails.send(self._hardware, self._host, machine, journey)

    def go_on(self, machine: MachineId) -> None:
        rails, found = self._opened(), self.passage(machine)
        if found is None or found.arriving:
            raise NotFound(f"{machine} was not sent from here")
        with self._faults.around(f"have {machine} go on"):
            if found.state is PassageState.MOVING:
                rails.call_off(self._hardware, machine)
            self._hardware.stand(machine, still=False)

    def mirror(self, machine: MachineId, disks: Sequence[GuestDisk], bytes_per_second: int) -> None:  # noqa: ARG002
        with self._faults.around(f"mirror {machine}"):
            sim_mirrors.mirror(self._hardware, machine, disks)

    def mirrored(self, machine: MachineId, disks: Sequence[GuestDisk]) -> Mirror:
        return sim_mirrors.mirrored(self._hardware, machine, disks)

    def mirroring(self, machine: MachineId) -> bool:
        kept = self._hardware.guests.get(machine)
        return kept is not None and bool(kept.mirrors)

    def hold(self, machine: MachineId) -> None:
        with self._faults.around(f"hold {machine}"):
            self._hardware.stand(machine, still=True)

    def pivot(self, machine: MachineId, disks: Sequence[GuestDisk]) -> None:
        with self._faults.around(f"pivot {machine}"):
            sim_mirrors.pivot(self._hardware, machine, disks)

    def unmirror(self, machine: MachineId, disks: Sequence[GuestDisk]) -> None:  # noqa: ARG002
        with self._faults.around(f"unmirror {machine}"):
            sim_mirrors.unmirror(self._hardware, machine)

    def arrive(self, guest: Guest) -> None:
        guest = as_seen(guest)
        found = self.passage(guest.machine)
        if found is None:
            kept = self._hardware.guests.get(guest.machine)
            if kept is None or kept.runs is None:
                raise NotFound(f"{guest.machine} is not here")
            return
        if not found.arriving or found.state is not PassageState.COMPLETE:
            raise Conflict(f"{guest.machine} has not arrived here")
        with self._faults.around(f"have {guest.machine} arrive"):
            self._hardware.define(guest)
            self._hardware.arrive(guest.machine)

    def _demand_same(self, machine: MachineId, kept: SimGuest | None, runs: Guest | None) -> None:
        """It is what it was when we looked: a real hypervisor finds out by itself."""
        now = self._hardware.guests.get(machine)
        if now is not kept or (now is not None and now.runs is not runs):
            raise Unavailable(f"{machine} has changed meanwhile")

    def _opened(self) -> SimRails:
        if self._rails is None:
            raise Unavailable("this host has no address for guests that move while they run")
        return self._rails

    def _check(self, guest: Guest, freed_mib: int) -> None:
        if guest.cpus < 1 or guest.memory_mib < 1:
            raise BadInput(f"{guest.machine} has no CPU or no memory")
        free = self._hardware.memory_mib - self._hardware.memory_used_mib + freed_mib
        if guest.memory_mib > free:
            raise NoRoom(f"{guest.machine} needs {guest.memory_mib} MiB, {free} MiB are free here")
        self._check_disks(guest)
        self._check_ports(guest)

    def _check_disks(
        self, guest: Guest, *, clings: bool = False, runs: Guest | None = None
    ) -> None:
        had = {disk.serial for disk in runs.disks} if runs else set()
        gone = had - {disk.serial for disk in guest.disks}
        sizes = {disk.serial: disk.bytes for disk in runs.disks} if runs else {}
        if gone and clings:
            raise Unavailable(f"{guest.machine} does not let go of {min(gone)}")
        for disk in guest.disks:
            grows = disk.serial in had and disk.bytes > sizes[disk.serial]
            served = disk.nbd if disk.nbd and not self._hardware.mounted(disk.nbd) else None
            if grows and served and self._hardware.size(served) < disk.bytes:
                raise Unavailable(f"{guest.machine}: {served.name} has not grown yet")
            if disk.serial in had or (runs and not disk.position):
                continue
            if disk.nbd is None and disk.path not in self._hardware.files:
                raise Unavailable(f"{guest.machine}: no such disk: {disk.path.name}")
            if disk.nbd and not self._hardware.reaches(disk.nbd):
                raise Unavailable(f"{guest.machine}: {disk.nbd.name} is not served to this host")

    def _check_ports(
        self, guest: Guest, *, clings: bool = False, runs: Guest | None = None
    ) -> None:
        places = [port.place for port in guest.ports]
        if len(set(places)) < len(places):
            raise BadInput(f"{guest.machine} has two ports in one place", field="ports.place")
        kept = {port.device: port.place for port in guest.ports}
        gone = [port for port in runs.ports if port.device not in kept] if runs else []
        if gone and (clings or any(port.place == 0 for port in gone)):
            raise Unavailable(f"{guest.machine} does not let go of {gone[0].device}")
        for port in guest.ports:
            if port.device not in self._hardware.devices:
                raise Unavailable(f"{guest.machine}: no such port: {port.device}")
