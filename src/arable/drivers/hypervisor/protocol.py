"""What every hypervisor driver promises: states, not steps; each verb is safe to say twice.

The agent prepares disks and ports first and hands over a `Guest` in which everything is a local path or name.
Drivers know nothing of accounts, tables or HTTP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from arable.domain.ids import HostId, MachineId, VolumeId
from arable.domain.manifest import GuestStats, PartFormat
from arable.runtime.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class NbdSource:
    """A disk on a storage host: an NBD server, and the name that its certificate must have."""

    address: str
    port: int
    name: str
    server: str

    @property
    def volume(self) -> VolumeId:
        """What it is of."""
        return VolumeId(self.name.rpartition(".e")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class IscsiSource:
    """A disk on a storage host: an iSCSI target, what this host is called there, and the secret by which it is known."""

    address: str
    port: int
    target: str
    initiator: str
    secret: Secret = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestDisk:
    """A disk as the hypervisor opens it. `serial` shows up in the guest; limits of 0 mean none.

    A guest that runs sees it grow to `bytes`, where those are more than it has; never shrink; 0 leaves it as it is.
    One with a `position` above 0 comes and goes while the guest runs, and is always at that place of it. With `nbd` or
    `iscsi` it is there and not at `path`. When it does not answer, the guest stands still until somebody says
    `ensure` again and it does: no error reaches the guest, nothing that it wrote is lost.
    """

    path: Path = Path()
    format: PartFormat
    serial: str
    bytes: int = 0
    read_only: bool = False
    iops: int = 0
    bytes_per_second: int = 0
    nbd: NbdSource | None = None
    iscsi: IscsiSource | None = None
    position: int = 0

    @property
    def is_far(self) -> bool:
        """Whether it is on another host."""
        return self.nbd is not None or self.iscsi is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestPort:
    """A NIC: the tap device that the network driver made, and its MAC.

    In each `place` of a guest there is one at most. All but the first can be filled and emptied while it runs.
    """

    device: str
    mac: str
    place: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A machine as it should run here."""

    machine: MachineId
    generation: int
    name: str
    boots: int
    cpus: int
    cpu_mhz: int
    memory_mib: int
    kernel: Path | None = None
    initrd: Path | None = None
    command_line: str = ""
    disks: tuple[GuestDisk, ...] = ()
    ports: tuple[GuestPort, ...] = ()


class GuestPower(StrEnum):
    """What a hypervisor sees of a guest."""

    RUNNING = "running"
    ARRIVING = "arriving"  # its memory is, or will be, received; it never ran here
    OFF = "off"  # shut down, by itself or because it was asked to
    CRASHED = "crashed"  # went away without being asked


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFound:
    """A guest as found: what was last ensured of it, and whether it runs.

    `generation` is of the definition that it is like: one that runs is like an earlier one until it has the disks of
    the newest, as large as there, and no others.

    One that is `stalled` runs, and stands still because a disk did not take what was to be written; `ensure` has it
    try again. It is `short` as well if that is because there was no room for it where a disk is. One that is `still` runs, and stands still for another reason: it was sent away, perhaps.
    """

    machine: MachineId
    generation: int
    boots: int
    power: GuestPower
    stalled: bool = False
    short: bool = False
    still: bool = False


class Hypervisor(Protocol):
    """Four verbs. Everything a driver must remember it keeps with the guest (libvirt metadata), not in memory."""

    @property
    def name(self) -> str:
        """What was chosen, for people: "qemu (tcg)"."""

    def guests(self) -> Mapping[MachineId, GuestFound]:
        """Everything here that is ours, running or not."""

    def ensure(self, guest: Guest) -> None:
        """Defined as given, and running.

        A guest that already runs is left running, even if its definition changed: it gets ports and further disks
        that it lacks and lets go of those that it should not have, its disks grow and get their limits, and the rest counts from the next boot. One with
        fewer `boots` is restarted (a reboot was asked for). Raises `NoRoom` or `BadInput` before touching anything,
        `Unavailable` when it may succeed later; one that does not let go is found with its earlier generation.
        """

    def stop(self, machine: MachineId, *, force: bool) -> None:
        """Ask the guest to shut down (ACPI), or pull the plug. Returns at once unless `force`; absent is fine."""

    def remove(self, machine: MachineId) -> None:
        """Not running and no longer defined when this returns; already gone is fine. Disks are not touched."""


@runtime_checkable
class HasConsole(Protocol):
    """Guests with a serial console on a unix socket."""

    def console(self, machine: MachineId) -> Path:
        """The socket of the serial console; raises `NotFound` when the guest does not run."""

    def console_log(self, machine: MachineId) -> Path:
        """The file with all that the guest ever said on its console."""


@runtime_checkable
class SetsPasswords(Protocol):
    """Guests that run an agent by which the host can change a password in them."""

    def set_password(self, machine: MachineId, user: str, hashed: str) -> None:
        """The user has this password, given as a hash. Raises `Unavailable` when nobody in the guest does it."""


@runtime_checkable
class KeepsDisks(Protocol):
    """Guests whose disks, files of this host, keep what is on them now (`storage/protocol.py`, `KeepsSnapshots`)."""

    def snapshot(self, machine: MachineId, serial: str, name: str, *, drop: bool = False) -> None:
        """The disk of the guest that runs keeps what is on it now under that name, or no more.

        What was answered to the guest as written is in it. Already so is fine, and so is what was asked before and given
        up, and is not over: it comes to its end first.
        Raises `NotFound` when the guest or the disk is not there, `Unavailable` when it may succeed later.
        """


@runtime_checkable
class HasStats(Protocol):
    """Guests whose use is counted."""

    def stats(self) -> Sequence[GuestStats]:
        """One entry for each running guest."""


class MirrorState(StrEnum):
    """How far the disks of a guest are on their way to other places."""

    NONE = "none"  # nothing goes there
    COPYING = "copying"
    READY = "ready"  # all is at both places, and so is all that the guest writes
    THERE = "there"  # the guest has all of its disks there, and none where they were
    FAILED = "failed"  # one of them goes there no more; the guest has them where they were


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A guest's disks on their way, as its hypervisor sees it. `still`: it was told to `hold`."""

    state: MirrorState
    copied_bytes: int = 0
    left_bytes: int = 0
    still: bool = False
    told: str = ""


def together(states: set[MirrorState]) -> MirrorState:
    """Of all disks together. Those that are there never go back, so the others are to follow."""
    if len(states) == 1:
        return next(iter(states))
    if MirrorState.NONE in states:
        return MirrorState.FAILED
    return MirrorState.COPYING if MirrorState.COPYING in states else MirrorState.READY


@runtime_checkable
class Mirrors(Protocol):
    """Guests whose far disks go to other places while they run (docs/decisions/0055).

    A driver copies and never decides where a disk is: when all is at both places the guest uses the first ones, until it is
    told to `pivot`. `disks` are the places where they are to be, each with the serial of one that the guest has.
    """

    def mirror(self, machine: MachineId, disks: Sequence[GuestDisk], bytes_per_second: int) -> None:
        """Have all that is on them, and all that is written from now on, there as well. Already so is fine.

        The bytes a second are for all of them together; 0: no limit. Raises `NotFound`, `Unavailable`.
        """

    def mirrored(self, machine: MachineId, disks: Sequence[GuestDisk]) -> Mirror:
        """How that stands. Raises `NotFound` when the guest does not run here."""

    def mirroring(self, machine: MachineId) -> bool:
        """Whether any of its disks is on its way to anywhere."""

    def hold(self, machine: MachineId) -> None:
        """The guest stands still, and nothing of it is on its way to a disk."""

    def pivot(self, machine: MachineId, disks: Sequence[GuestDisk]) -> None:
        """It has its disks there and goes on. Only when all was there as it stood still; said again, it does what is left."""

    def unmirror(self, machine: MachineId, disks: Sequence[GuestDisk]) -> None:
        """Nothing goes there any more, and the guest goes on with the disks that it had."""


class PassageState(StrEnum):
    """How far a guest's memory is on its way."""

    WAITING = "waiting"  # nothing came yet
    MOVING = "moving"
    COMPLETE = "complete"  # all is there; neither side runs it
    FAILED = "failed"  # what was sent away is all here, what was to arrive never will


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A guest on its way from one hypervisor to another, as one of them sees it. Counters are the sender's.

    `epoch` tells one attempt from every other. `address` is where the receiver waits (HOST:PORT). `still`: the sent one
    stands still, also once it failed, until it is told to `go_on`.
    """

    machine: MachineId
    epoch: int
    arriving: bool
    state: PassageState
    address: str = ""
    sent_bytes: int = 0
    left_bytes: int = 0
    dirty_bytes_per_second: int = 0
    downtime_ms: int = 0
    seconds: float = 0.0  # since it began
    still: bool = False
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """Where a guest is to be sent, and what that may cost. `target` must be in the receiver's certificate."""

    epoch: int
    target: HostId
    address: str
    bytes_per_second: int = 0
    downtime_ms: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """How memory comes in and goes out: this host's `address` for it, and a directory with its certificate for disks."""

    address: str
    credentials: Path
    ports: range = range(49152, 49216)


@runtime_checkable
class Moves(Protocol):
    """Guests that go to another hypervisor while they run (docs/decisions/0008).

    A driver sends memory and never decides where a guest runs: when all is over, the sent one stands still until it
    is removed or told to `go_on`, and the received one until it is told to `arrive`. All memory goes encrypted, from
    the host with the one name to the host with the other and nobody else.
    """

    @property
    def kin(self) -> str:
        """Guests move only between hypervisors that say the same here: their memory means the same to both.

        Empty when none comes or goes. Raises `Unavailable`.
        """

    def passage(self, machine: MachineId) -> Passage | None:
        """How the last attempt stands, by which this guest was sent or is received; None for none."""

    def receive(self, guest: Guest, epoch: int, source: HostId) -> str:
        """Wait for this guest's memory from that host; where (HOST:PORT). Already so is fine.

        What is left of an earlier attempt goes. Raises `Conflict` when the guest runs here, and what `ensure` does.
        """

    def send(self, machine: MachineId, journey: Journey) -> None:
        """Begin to send its memory; it runs on meanwhile where that is safe. Already begun, and already over, are fine."""

    def go_on(self, machine: MachineId) -> None:
        """The sent one is not sent any more, and runs. Only for who has the right to run it."""

    def arrive(self, guest: Guest) -> None:
        """The received one, when it is complete, runs, and is defined. Already so is fine. Raises `Conflict`."""
