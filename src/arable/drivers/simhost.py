"""The hardware of a simulated host: what is there whether or not an agent looks.

Simulated drivers are doors to one of these; agent and drivers can be dropped and made anew while the `SimHost`
is kept, as a real host's guests outlive its agent. Tests and the simulated world do to it what happens to real
hosts: crash a guest, let it shut itself down, cut the power. What must never be done to a host is possible here
too, as on a real one, and is written down in `mishaps` (a port pulled from under a running guest, an erased disk
in use), so that a test can demand an empty list.

A thousand of them with dozens of guests each live in one process, so counters are kept and nothing is scanned.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from arable.domain.balancer import BalancerSeen
from arable.domain.errors import Unavailable
from arable.domain.ids import (
    BalancerId,
    MachineId,
    NetworkId,
    NicId,
    OperationId,
    PoolId,
    ReplicaId,
    SnapshotId,
    VolumeId,
)
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.domain.units import GIB
from arable.drivers.hypervisor.protocol import (
    Guest,
    GuestDisk,
    GuestFound,
    GuestPower,
    NbdSource,
    Passage,
)
from arable.drivers.network.protocol import Port, Reach
from arable.drivers.storage.protocol import ReplicaFound, VolumeFound
from arable.runtime.clock import Clock, VirtualClock


@dataclass(slots=True)
class SimMirror:
    """Where a disk of a guest is being copied to, since when, and whether all of it is there."""

    to: NbdSource
    began: float
    whole: bool = False


@dataclass(slots=True)
class SimGuest:
    """A defined guest, and the run of it: `runs` is the definition it was booted from."""

    guest: Guest
    found: GuestFound
    runs: Guest | None = None
    starts: int = 0
    since: float = 0.0
    obeys: bool = True  # shuts down when asked to
    clings: bool = False  # lets go of no port or disk while it runs
    asked: bool = False  # was asked to shut down and did not
    still: bool = False  # runs, and stands still: all of it was sent away
    halted: bool = False  # so does its whole host
    short: bool = False  # runs, and stands still: there was no room for what it wrote
    passage: Passage | None = None  # by which it was sent away or is received
    has_agent: bool = True  # answers when its host asks something of it
    passwords: dict[str, str] = field(default_factory=dict)  # hashes by user, as it was given them
    memory: object = None  # whatever a test puts there; it goes along when the guest does
    mirrors: dict[str, SimMirror] = field(default_factory=dict)  # by the serials of its disks

    @property
    def awake(self) -> bool:
        """Whether it really runs: not one that stands still, nor a copy that waits to be let run."""
        runs = self.runs is not None and self.found.power is GuestPower.RUNNING
        return runs and not self.still and not self.halted


@dataclass(slots=True)
class SimAppliance:
    """A router with what it was programmed with."""

    wish: ApplianceWish
    leases: dict[NicId, LeaseWish]
    seen: ApplianceSeen
    made: int = 1  # how often


@dataclass(frozen=True, slots=True)
class SimReplica:
    """A replica of another pool's volume: its last whole point, what is on that, and the image below."""

    found: ReplicaFound
    content: object
    base: str


@dataclass(slots=True)
class SimPool:
    """Disks: which image parts were verified, which volumes and seeds exist."""

    pool: PoolId
    total_bytes: int = 500 * GIB
    used_bytes: int = 0
    others_bytes: int = 0  # of those, what is none of ours
    images: dict[str, int] = field(default_factory=dict)
    used_at: dict[str, datetime] = field(default_factory=dict)  # of images
    bases: dict[VolumeId, str] = field(
        default_factory=dict
    )  # the image that each stands on, if any
    begins: dict[str, bytes] = field(
        default_factory=dict
    )  # what is on a disk over an image at first
    volumes: dict[VolumeId, VolumeFound] = field(default_factory=dict)
    seeds: dict[VolumeId, tuple[str, str]] = field(default_factory=dict)
    erased: set[VolumeId] = field(default_factory=set)
    contents: dict[VolumeId, object] = field(default_factory=dict)  # whatever a guest or test wrote
    kept: dict[VolumeId, dict[SnapshotId, object]] = field(default_factory=dict)  # by its snapshots
    restored: dict[VolumeId, OperationId] = field(default_factory=dict)
    carried: dict[VolumeId, OperationId | ReplicaId] = field(default_factory=dict)
    points: dict[VolumeId, dict[str, object]] = field(default_factory=dict)  # for its replicas
    replicas: dict[VolumeId, SimReplica] = field(default_factory=dict)
    masks: dict[VolumeId, tuple[str, int]] = field(
        default_factory=dict
    )  # storage zones, since when
    hangs: bool = False  # whoever has a file open answers nobody, and does later what it was asked
    late: list[tuple[VolumeId, SnapshotId]] = field(default_factory=list)  # to be taken then

    def take(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        """A snapshot of what is on it now, unless there is one."""
        if self.hangs:
            self.late.append((volume, snapshot))
        self._catch_up()
        self.kept.setdefault(volume, {}).setdefault(snapshot, self.contents.get(volume))

    def drop(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        """No such snapshot."""
        self._catch_up()
        self.kept.get(volume, {}).pop(snapshot, None)

    def _catch_up(self) -> None:
        """One thing is done after the other, by a server that answers."""
        if self.hangs:
            raise Unavailable("the server of the disk does not answer")
        late, self.late = self.late, []
        for volume, snapshot in late:
            self.take(volume, snapshot)

    @property
    def full(self) -> bool:
        """Whether there is no room for another byte."""
        return self.used_bytes >= self.total_bytes

    def clutter(self) -> None:
        """Others' files take all the room that is left."""
        self.others_bytes += max(0, self.total_bytes - self.used_bytes)
        self.used_bytes = max(self.used_bytes, self.total_bytes)

    def clear(self) -> None:
        """Others' files are gone."""
        self.used_bytes -= self.others_bytes
        self.others_bytes = 0


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
    tunnels: dict[int, Reach] = field(default_factory=dict)  # by VNI
    appliances: dict[NetworkId, SimAppliance] = field(default_factory=dict)
    answers: Callable[[NicId], bool] = field(default=lambda _nic: True)  # a balancer's checks
    sessions: dict[NicId, int] = field(default_factory=dict)  # of members of balancers, now
    figures: dict[BalancerId, BalancerSeen] = field(default_factory=dict)  # but for the members
    # Whether one of two routers does, as far as it hears.
    leads: Callable[[ApplianceWish], bool] = field(default_factory=lambda: _is_first)
    unroutable: str = ""  # why no appliance starts here, if none does
    pools: dict[PoolId, SimPool] = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)
    used_devices: dict[str, MachineId] = field(default_factory=dict)  # by running guests
    used_files: dict[Path, MachineId] = field(default_factory=dict)
    started: int = 0  # starts of guests in all
    mishaps: list[str] = field(default_factory=list)
    reaches: Callable[[NbdSource], bool] = field(default=lambda _source: False)  # a shared disk
    size: Callable[[NbdSource], int] = field(default=lambda _source: 0)  # of it, in bytes
    full: Callable[[NbdSource], bool] = field(default=lambda _source: False)  # where it is
    load: Callable[[NbdSource], object] = field(default=lambda _source: None)  # what is on it
    store: Callable[[NbdSource, object], None] = field(default=lambda _source, _content: None)
    # The pool of files that it is in, if it is such a file.
    mounted: Callable[[NbdSource], SimPool | None] = field(default=lambda _source: None)
    deaf: set[MachineId] = field(default_factory=set)  # guests that run and answer nobody
    halted: bool = False  # nothing on it moves

    # What happens to hosts.

    def crash(self, machine: MachineId) -> None:
        """The guest goes away without being asked."""
        self._end(machine, GuestPower.CRASHED)

    def power_off_by_guest(self, machine: MachineId) -> None:
        """Somebody inside the machine shuts it down."""
        self._end(machine, GuestPower.OFF)

    def halt(self, *, on: bool = True) -> None:
        """The whole machine stands still, with all that runs on it, or goes on."""
        self.halted = on
        for guest in self.guests.values():
            guest.halted = on

    def disobey(self, machine: MachineId, *, obeys: bool = False) -> None:
        """From now on the guest does not shut down when asked to; with `obeys`, it does again, at once if it was asked."""
        guest = self.guests[machine]
        guest.obeys = obeys
        if obeys and guest.asked:
            self._end(machine, GuestPower.OFF)

    def write(self, machine: MachineId) -> bool:
        """Its guest writes to all of its disks what takes more room than they had; whether there was any."""
        kept = self.guests[machine]
        if not kept.awake:
            return False
        assert kept.runs is not None
        kept.short = any(map(self._full, kept.runs.disks))
        self._tell(kept, kept.found.power)
        return not kept.short

    def put(self, machine: MachineId, content: object) -> bool:
        """Its guest writes that to its far disks, and is told that it is written; whether it was."""
        kept = self.guests[machine]
        disks = kept.runs.disks if kept.runs and kept.awake else ()
        far = [disk.nbd for disk in disks if disk.nbd]
        if not far or not all(map(self.reaches, far)):
            return False
        places = [
            *far,
            *(one.to for one in kept.mirrors.values() if one.whole and self.reaches(one.to)),
        ]
        for place in places:
            self.store(place, content)
        return True

    def try_again(self, machine: MachineId) -> None:
        """A guest that stands still writes once more what there was no room for."""
        if self.guests[machine].short:
            self.write(machine)

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
        self.tunnels.clear()
        self.appliances.clear()

    # What the drivers do.

    def start(self, machine: MachineId) -> None:
        """Run the guest as it is defined now."""
        kept = self.guests[machine]
        disks = tuple(map(self._opened, kept.guest.disks))
        guest = kept.runs = replace(kept.guest, disks=disks)
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

    def use(self, machine: MachineId, serial: str, place: NbdSource) -> None:
        """The guest that runs has that disk at another place."""
        kept = self.guests[machine]
        assert kept.runs is not None
        disks = (replace(d, nbd=place) if d.serial == serial else d for d in kept.runs.disks)
        kept.runs = replace(kept.runs, disks=tuple(disks))

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

    def replug(self, guest: Guest) -> None:
        """The guest runs on, with these ports and further disks, and its disks as large and as fast as these."""
        machine = guest.machine
        kept = self.guests[machine]
        assert kept.runs is not None
        for port in kept.runs.ports:
            self.used_devices.pop(port.device, None)
        for port in guest.ports:
            if self.used_devices.setdefault(port.device, machine) != machine:
                self.mishaps.append(f"{machine} was given a port in use: {port.device}")
        before = {disk.serial: disk.bytes for disk in kept.runs.disks}
        sizes = before | {d.serial: max(d.bytes, before.get(d.serial, 0)) for d in guest.disks}
        wanted = {disk.serial: disk for disk in guest.disks}
        fixed = tuple(
            replace(disk, iops=like.iops, bytes_per_second=like.bytes_per_second)
            for disk in kept.runs.disks
            if not disk.position
            for like in (wanted.get(disk.serial, disk),)
        )
        further = tuple(disk for disk in guest.disks if disk.position)
        disks = tuple(replace(disk, bytes=sizes[disk.serial]) for disk in (*fixed, *further))
        self._grow(disk for disk in disks if disk.bytes > before.get(disk.serial, disk.bytes))
        for disk in kept.runs.disks:
            if disk.position and disk.nbd is None:
                self.used_files.pop(disk.path, None)
        for disk in further:
            if disk.nbd is None and self.used_files.setdefault(disk.path, machine) != machine:
                self.mishaps.append(f"{machine} was given a disk in use: {disk.path}")
        kept.runs = replace(kept.runs, ports=guest.ports, disks=disks)

    def _opened(self, disk: GuestDisk) -> GuestDisk:
        """As large as it is when it is opened."""
        return replace(disk, bytes=min(disk.bytes, self.size(disk.nbd))) if disk.nbd else disk

    def _grow(self, disks: Iterable[GuestDisk]) -> None:
        """Files that a guest has open grow by its hand."""
        for disk in disks:
            for pool in self.pools.values() if disk.nbd is None else ():
                for found in pool.volumes.values():
                    if found.path == disk.path and found.bytes < disk.bytes:
                        pool.volumes[found.volume] = replace(found, bytes=disk.bytes)
            shelf = self.mounted(disk.nbd) if disk.nbd else None
            if shelf and disk.nbd:
                held = shelf.volumes[disk.nbd.volume]
                shelf.volumes[held.volume] = replace(held, bytes=max(held.bytes, disk.bytes))

    def _full(self, disk: GuestDisk) -> bool:
        if disk.nbd is not None:
            return self.full(disk.nbd)
        return any(
            pool.full
            for pool in self.pools.values()
            if any(found.path == disk.path for found in pool.volumes.values())
        )

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
        kept.still, kept.short, kept.passage = False, False, None
        kept.mirrors.clear()
        self._tell(kept, power)
        if arriving:  # nothing of it is kept but in its process
            del self.guests[machine], self.found[machine]

    def _tell(self, kept: SimGuest, power: GuestPower) -> None:
        kept.found = _found(kept.guest, power)
        if kept.still:
            kept.found = replace(kept.found, still=True)
        if kept.short and power is GuestPower.RUNNING:
            kept.found = replace(kept.found, stalled=True, short=True)
        self.found[kept.guest.machine] = kept.found


def _is_first(wish: ApplianceWish) -> bool:
    """Where nobody hears anybody else, the one with the lower number leads."""
    return wish.pair is None or not wish.pair.other or wish.pair.number < wish.pair.other


def _found(guest: Guest, power: GuestPower) -> GuestFound:
    return GuestFound(
        machine=guest.machine, generation=guest.generation, boots=guest.boots, power=power
    )
