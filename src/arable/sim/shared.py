"""Shared disks in the simulated world: storage hosts' pools and lease services, and on hosts that run machines the
keepers of leases and their watchdogs. What is durable, or outlives an agent as a process of its own, is kept apart.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from arable.agent.deadlines import DeadlineMemory
from arable.agent.lease_desk import LeaseDesk
from arable.agent.leases import LeaseKeeper
from arable.agent.moves import Mover
from arable.domain.errors import CloudError
from arable.domain.ids import HostId, PoolId, VolumeId
from arable.domain.manifest import SharedFrom
from arable.drivers.faults import Faults
from arable.drivers.hypervisor.protocol import GuestPower, NbdSource, PassageState
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.hypervisor.sim_rails import SimRails
from arable.drivers.simhost import SimGuest, SimHost, SimPool
from arable.drivers.storage.file.exports import LEASED
from arable.drivers.storage.lease_records import MemoryRecords
from arable.drivers.storage.protocol import export_name
from arable.drivers.storage.sim_files import SimFileExports, SimFileStorage
from arable.drivers.storage.sim_shared import SimExports, SimSharedStorage
from arable.runtime.boottime import ClockBootTime
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy
from arable.sim.leases import SimLeaseLine, SimLeaseNetwork, SimWatchdog

LENGTH = 30.0  # of a lease, in seconds
PORT = 10808


@dataclass(slots=True)
class Share:
    """Of a storage host."""

    address: str
    exports: SimExports
    records: MemoryRecords = field(default_factory=MemoryRecords)
    files: Path | None = None  # the directory, where its disks are files that hosts have mounted
    pool: SimSharedStorage | None = None  # while its agent is there
    disks: SimPool | None = None  # since its agent was there first


@dataclass(slots=True)
class Runner:
    """Of a host that runs machines."""

    watchdog: SimWatchdog
    deadlines: DeadlineMemory
    keeper: LeaseKeeper | None = None  # while its agent is there
    mover: Mover | None = None
    cut: bool = False  # from all storage hosts


@dataclass
class SharedDisks:
    """All of a world. `alive` tells whether an agent works: it is there, has power and is not frozen."""

    clocks: Mapping[HostId, Clock]
    entropy: Entropy
    alive: Callable[[HostId], bool]
    shares: dict[HostId, Share] = field(default_factory=dict)
    runners: dict[HostId, Runner] = field(default_factory=dict)
    hardware: dict[HostId, SimHost] = field(default_factory=dict)  # of these
    network: SimLeaseNetwork = field(default_factory=SimLeaseNetwork)
    heard: Callable[[HostId, HostId], None] = field(default=lambda _by, _storage: None)
    moving: Callable[[HostId], AbstractContextManager[None]] = field(
        default=lambda _host: nullcontext()
    )
    rails: SimRails = field(default_factory=lambda: SimRails(seconds=3.0))

    def __post_init__(self) -> None:
        self.network.cut = self._cut
        self.network.heard = lambda by, address: self.heard(by, self._at(address))

    def add_share(self, host: HostId, address: str, *, files: bool = False) -> None:
        """A storage host; with `files`, the keeper of a pool of them, which all hosts of its pod have mounted."""
        self.shares[host] = Share(address, SimExports(address.rpartition(":")[0]))
        if files:
            directory = Path("/mounted", host)
            named = SimFileExports(str(directory / LEASED), locked=partial(self._locked, host))
            self.shares[host] = Share(address, named, files=directory)

    def add_runner(self, host: HostId, hardware: SimHost) -> None:
        """A host that runs machines."""
        deadlines = DeadlineMemory()
        watchdog = SimWatchdog(hardware, deadlines, self._time(host))
        self.runners[host] = Runner(watchdog, deadlines)
        hardware.reaches = lambda source: self._reaches(source, host)
        hardware.size = self._size
        hardware.full = self._full
        hardware.load = self._load
        hardware.store = self._store
        hardware.mounted = self._mounted
        self.hardware[host] = hardware

    def pool(
        self, host: HostId, hardware: SimHost, pool: PoolId, faults: Faults
    ) -> SimSharedStorage:
        """A storage host's agent begins."""
        share = self.shares[host]
        kind = SimFileStorage if share.files else SimSharedStorage
        share.pool = kind(
            hardware, pool, share.records, share.exports, self._time(host), LENGTH, faults
        )
        share.disks = hardware.pools[pool]
        self.network.desks[share.address] = LeaseDesk(share.pool)
        return share.pool

    def _of(self, source: NbdSource) -> list[Share]:
        """The storage host where that is."""
        return [s for s in self.shares.values() if s.exports.address == source.address]

    def _load(self, source: NbdSource) -> object:
        volume = source.volume
        return next((s.disks.contents.get(volume) for s in self._of(source) if s.disks), None)

    def _store(self, source: NbdSource, content: object) -> None:
        for share in self._of(source):
            if share.disks is not None:
                share.disks.contents[source.volume] = content

    def _full(self, source: NbdSource) -> bool:
        """Whether there is no room where that disk is."""
        volume = source.volume
        pools = (share.disks for share in self._of(source))
        return any(pool is not None and pool.full and volume in pool.volumes for pool in pools)

    def _size(self, source: NbdSource) -> int:
        shelf = self._mounted(source)
        if shelf:
            held = shelf.volumes.get(source.volume)
            return held.bytes if held else 0
        return max(share.exports.size(source) for share in self._of(source))

    def _mounted(self, source: NbdSource) -> SimPool | None:
        return next((share.disks for share in self._of(source) if share.files), None)

    def _locked(self, keeper: HostId, volume: VolumeId) -> bool:
        """Whether any hypervisor has that file open and may write: not one that waits for memory, or has sent it away."""
        address = self.shares[keeper].exports.address
        return any(
            disk.nbd and (disk.nbd.address, disk.nbd.volume) == (address, volume)
            for hardware in self.hardware.values()
            for guest in hardware.guests.values()
            if guest.runs and guest.found.power is GuestPower.RUNNING and not _sent(guest)
            for disk in guest.runs.disks
        )

    def keeper(self, host: HostId) -> LeaseKeeper:
        """A compute host's agent begins."""
        runner = self.runners[host]

        def line(place: SharedFrom) -> SimLeaseLine:
            return self.network.line(host, place)

        runner.keeper = LeaseKeeper(
            line,
            runner.deadlines,
            lambda: True,
            self._time(host),
            self.entropy.child(host),
        )
        return runner.keeper

    def mover(self, host: HostId, hypervisor: SimHypervisor) -> Mover | None:
        """A compute host's agent begins, with its keeper there; None where no disks are shared."""
        runner = self.runners.get(host)
        if runner is None or runner.keeper is None:
            return None
        runner.mover = Mover(hypervisor, hypervisor, runner.keeper, self.clocks[host])
        return runner.mover

    def move(self, host: HostId) -> bool:
        """That host's agent looks after machines that come and go; whether there are any."""
        runner = self.runners.get(host)
        if not (runner and runner.mover and runner.mover.due() <= self.clocks[host].monotonic()):
            return False
        runner.mover.step()
        return True

    def tick(self) -> None:
        """Time has passed: memory goes over, watchdogs look, then leases are renewed and end."""
        self.rails.turn()
        for runner in self.runners.values():
            runner.watchdog.look()
        for host, runner in self.runners.items():
            keeper = runner.keeper if self.alive(host) else None
            with self.moving(host):
                for place in sorted(keeper.places(), key=str) if keeper else ():
                    if keeper and keeper.due(place) <= self._time(host).now():
                        keeper.step(place)
        for host, share in self.shares.items():
            if share.pool is not None and self.alive(host):
                with self.moving(host), suppress(CloudError):  # the next time tries again
                    share.pool.leases.tend()

    def agent_dies(self, host: HostId) -> None:
        """Its memory is gone; watchdogs and servers of disks are not."""
        if host in self.shares:
            self.shares[host].pool = None
            self.network.desks.pop(self.shares[host].address, None)
        if host in self.runners:
            self.runners[host].keeper = self.runners[host].mover = None

    def power_dies(self, host: HostId) -> None:
        """What is not on a disk is gone."""
        if host in self.shares:
            self.shares[host].exports.lose_power()
        if host in self.runners:
            self.runners[host].deadlines.held.clear()

    def mishaps(self) -> list[str]:
        """What must never be done to shared disks, and was."""
        return [f"{host}: {told}" for host, s in self.shares.items() for told in s.exports.mishaps]

    def _time(self, host: HostId) -> ClockBootTime:
        return ClockBootTime(self.clocks[host])

    def _cut(self, host: HostId, address: str) -> bool:
        return self.runners[host].cut or not self.alive(self._at(address))

    def _at(self, address: str) -> HostId:
        return next(id_ for id_, share in self.shares.items() if share.address == address)

    def _reaches(self, source: NbdSource, host: HostId) -> bool:
        if self._mounted(source) and _has_open(self.hardware[host], source):
            return True  # whatever its name is now
        able = (share.exports.reaches(source, host) for share in self._of(source))
        return not self.runners[host].cut and any(able)


@dataclass(frozen=True, slots=True)
class SimFilePools:
    """`Mounted`, on every host of a pod. The keeper's lock is seen for as long as its agent is there, frozen or not."""

    pools: Mapping[PoolId, Share]

    def reached(self) -> tuple[PoolId, ...]:
        return tuple(sorted(self.pools))

    def lacks(self, pool: PoolId) -> str:
        share = self.pools.get(pool)
        if share is None:
            return f"{pool} is not mounted on this host"
        return "" if share.pool else "the lock of its keeper is not seen"

    def path(self, pool: PoolId, volume: VolumeId, epoch: int) -> Path:
        directory = self.pools[pool].files
        assert directory
        return directory / LEASED / export_name(volume, epoch)


def _sent(guest: SimGuest) -> bool:
    """Whether all of it went to another host: then its hypervisor has let go of its disks."""
    gone = guest.passage is not None and guest.passage.state is PassageState.COMPLETE
    return guest.still and gone


def _has_open(hardware: SimHost, source: NbdSource) -> bool:
    return any(
        disk.nbd == source
        for guest in hardware.guests.values()
        if guest.runs and guest.found.power is GuestPower.RUNNING and not _sent(guest)
        for disk in guest.runs.disks
    )
