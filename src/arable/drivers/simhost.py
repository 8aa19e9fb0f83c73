"""The hardware of a simulated host: what is there whether or not an agent looks.

Simulated drivers are doors to one of these; agent and drivers can be dropped and made anew while the `SimHost`
is kept, as a real host's guests outlive its agent. Tests and the simulated world do to it what happens to real
hosts: crash a guest, let it shut itself down, cut the power. What must never be done to a host is possible here
too, as on a real one, and is written down in `mishaps` (a port pulled from under a running guest, an erased disk
in use), so that a test can demand an empty list.

A thousand of them with dozens of guests each live in one process, so counters are kept and nothing is scanned.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from arable.domain.ids import MachineId, NetworkId, NicId, PoolId, VolumeId
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.domain.units import GIB
from arable.drivers.hypervisor.protocol import Guest, GuestFound, GuestPower, NbdSource, Passage
from arable.drivers.network.protocol import Port
from arable.drivers.storage.protocol import VolumeFound
from arable.runtime.clock import Clock, VirtualClock


@dataclass(slots=True)
class SimGuest:
    """A defined guest, and the run of it: `runs` is the definition it was booted from."""

    guest: Guest
    found: GuestFound
    runs: Guest | None = None
    starts: int = 0
    since: float = 0.0
    obeys: bool = True  # shuts down when asked to
    asked: bool = False  # was asked to shut down and did not
    still: bool = False  # runs, and stands still: all of it was sent away
    passage: Passage | None = None  # by which it was sent away or is received
    memory: object = None  # whatever a test puts there; it goes along when the guest does

    @property
    def awake(self) -> bool:
        """Whether it really runs: not one that stands still, nor a copy that waits to be let run."""
        return self.runs is not None and self.found.power is GuestPower.RUNNING and not self.still


@dataclass(slots=True)
class SimAppliance:
    """A router with what it was programmed with."""

    wish: ApplianceWish
    leases: dict[NicId, LeaseWish]
    seen: ApplianceSeen


@dataclass(slots=True)
class SimPool:
    """Disks: which image parts were verified, which volumes and seeds exist."""

    pool: PoolId
    total_bytes: int = 500 * GIB
    used_bytes: int = 0
    images: dict[str, int] = field(default_factory=dict)
    volumes: dict[VolumeId, VolumeFound] = field(default_factory=dict)
    seeds: dict[VolumeId, tuple[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class SimHost:
    """One simulated host. `memory_mib` is what its running guests may hold together."""

    cpus: int = 16
    cpu_mhz: int = 16 * 2400
    memory_mib: int = 64 * 1024
    clock: Clock = field(default_factory=VirtualClock)
    guests: dict[MachineId, SimGuest] = field(default_factory=dict)
    found: dict[MachineId, GuestFound] = field(default_factory=dict)
    memory_used_mib: int = 0
    ports: dict[NicId, Port] = field(default_factory=dict)
    devices: dict[str, NicId] = field(default_factory=dict)
    vlans: dict[int, int] = field(default_factory=dict)  # how many ports each has
    appliances: dict[NetworkId, SimAppliance] = field(default_factory=dict)
    unroutable: str = ""  # why no appliance starts here, if none does
    pools: dict[PoolId, SimPool] = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)
    used_devices: dict[str, MachineId] = field(default_factory=dict)  # by running guests
    used_files: dict[Path, MachineId] = field(default_factory=dict)
    started: int = 0  # starts of guests in all
    mishaps: list[str] = field(default_factory=list)
    reaches: Callable[[NbdSource], bool] = field(default=lambda _source: False)  # a shared disk

    # What happens to hosts.

    def crash(self, machine: MachineId) -> None:
        """The guest goes away without being asked."""
        self._end(machine, GuestPower.CRASHED)

    def power_off_by_guest(self, machine: MachineId) -> None:
        """Somebody inside the machine shuts it down."""
        self._end(machine, GuestPower.OFF)

    def disobey(self, machine: MachineId, *, obeys: bool = False) -> None:
        """From now on the guest does not shut down when asked to; with `obeys`, it does again, at once if it was asked."""
        guest = self.guests[machine]
        guest.obeys = obeys
        if obeys and guest.asked:
            self._end(machine, GuestPower.OFF)

    def break_appliance(self, network: NetworkId, told: str = "dhcp is not running") -> None:
        """A part of a router fails."""
        appliance = self.appliances[network]
        appliance.seen = ApplianceSeen(
            network=network, generation=appliance.wish.generation, running=False, told=told
        )

    def lose_power(self) -> None:
        """Everything that ran is gone; what was on disk is kept: volumes, images, definitions of guests."""
        for machine in list(self.guests):
            self._end(machine, GuestPower.CRASHED)
        self.ports.clear()
        self.devices.clear()
        self.vlans.clear()
        self.appliances.clear()

    # What the drivers do.

    def start(self, machine: MachineId) -> None:
        """Run the guest as it is defined now."""
        kept = self.guests[machine]
        guest = kept.runs = kept.guest
        kept.starts += 1
        kept.since = self.clock.monotonic()
        kept.asked = False
        kept.memory = None
        self.started += 1
        self.memory_used_mib += guest.memory_mib
        for disk in guest.disks:
            if (
                disk.nbd is None
                and not disk.read_only
                and self.used_files.setdefault(disk.path, machine) != machine
            ):
                self.mishaps.append(f"{machine} started on a disk in use: {disk.path}")
        for port in guest.ports:
            if self.used_devices.setdefault(port.device, machine) != machine:
                self.mishaps.append(f"{machine} started on a port in use: {port.device}")
        self._tell(kept, GuestPower.RUNNING)

    def receive(self, guest: Guest, passage: Passage) -> None:
        """Wait for the guest's memory; it takes room, and does not run."""
        kept = self.define(guest)
        kept.runs, kept.passage = guest, passage
        self.memory_used_mib += guest.memory_mib
        for port in guest.ports:
            self.used_devices[port.device] = guest.machine
        self._tell(kept, GuestPower.ARRIVING)

    def arrive(self, machine: MachineId) -> None:
        """What was received runs."""
        kept = self.guests[machine]
        kept.passage, kept.since = None, self.clock.monotonic()
        self._tell(kept, GuestPower.RUNNING)

    def stand(self, machine: MachineId, *, still: bool) -> None:
        """The guest stands still, or goes on."""
        kept = self.guests[machine]
        kept.still = still
        self._tell(kept, kept.found.power)

    def off(self, machine: MachineId) -> None:
        """The guest runs no more."""
        self._end(machine, GuestPower.OFF)

    def define(self, guest: Guest) -> SimGuest:
        """Keep this definition; what runs already keeps running."""
        kept = self.guests.get(guest.machine)
        if kept is None:
            kept = SimGuest(guest, _found(guest, GuestPower.OFF))
            self.guests[guest.machine] = kept
        kept.guest = guest
        self._tell(kept, kept.found.power)
        return kept

    def forget(self, machine: MachineId) -> None:
        """The guest is neither running nor defined."""
        self._end(machine, GuestPower.OFF)
        self.guests.pop(machine, None)
        self.found.pop(machine, None)

    def plug(self, port: Port) -> None:
        """The port is there, in its VLAN."""
        self.unplug(port.nic, replaced=port)
        self.ports[port.nic] = port
        self.devices[port.device] = port.nic
        self.vlans[port.vlan] = self.vlans.get(port.vlan, 0) + 1

    def unplug(self, nic: NicId, replaced: Port | None = None) -> None:
        """The port is not there any more."""
        port = self.ports.pop(nic, None)
        if port is None:
            return
        if port.device in self.used_devices and (
            replaced is None or (replaced.device, replaced.vlan) != (port.device, port.vlan)
        ):
            user = self.used_devices[port.device]
            self.mishaps.append(f"port {port.device} was pulled from under running {user}")
        del self.devices[port.device]
        self.vlans[port.vlan] -= 1
        if not self.vlans[port.vlan]:
            del self.vlans[port.vlan]

    def erase(self, path: Path) -> None:
        """The file is gone."""
        if path in self.used_files:
            self.mishaps.append(f"disk {path} was erased under running {self.used_files[path]}")
        self.files.discard(path)

    def _end(self, machine: MachineId, power: GuestPower) -> None:
        kept = self.guests.get(machine)
        if kept is None or kept.runs is None:
            return
        self.memory_used_mib -= kept.runs.memory_mib
        for disk in kept.runs.disks:
            if disk.nbd is None:
                self.used_files.pop(disk.path, None)
        for port in kept.runs.ports:
            self.used_devices.pop(port.device, None)
        kept.runs, kept.asked = None, False
        arriving = kept.found.power is GuestPower.ARRIVING
        kept.still, kept.passage = False, None
        self._tell(kept, power)
        if arriving:  # nothing of it is kept but in its process
            del self.guests[machine], self.found[machine]

    def _tell(self, kept: SimGuest, power: GuestPower) -> None:
        kept.found = _found(kept.guest, power)
        if kept.still:
            kept.found = replace(kept.found, still=True)
        self.found[kept.guest.machine] = kept.found


def _found(guest: Guest, power: GuestPower) -> GuestFound:
    return GuestFound(
        machine=guest.machine, generation=guest.generation, boots=guest.boots, power=power
    )
