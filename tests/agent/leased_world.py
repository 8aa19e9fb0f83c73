"""A storage host and compute hosts with real agents and leases on simulated hardware and virtual time."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from agent import make_agent as make
from arable.agent.agent import Agent
from arable.agent.deadlines import DeadlineMemory
from arable.agent.lease_desk import LeaseDesk
from arable.agent.leases import LeaseKeeper
from arable.agent.ledger import MemoryLedger
from arable.agent.sight import Drivers
from arable.domain.errors import CloudError
from arable.domain.ids import HostId, MachineId, OperationId, PoolId, VolumeId
from arable.domain.manifest import (
    DiskWish,
    ExportSeen,
    ExportWish,
    GuestSeen,
    GuestWish,
    HostReport,
    ItemKind,
    Power,
    SharedFrom,
)
from arable.domain.snapshot import SnapshotSeen, SnapshotWish
from arable.domain.units import MIB
from arable.drivers.faults import Faults
from arable.drivers.hypervisor.protocol import GuestPower
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost
from arable.drivers.storage.lease_records import MemoryRecords
from arable.drivers.storage.sim import SimStorage
from arable.drivers.storage.sim_shared import SimExports, SimSharedStorage
from arable.runtime.boottime import ClockBootTime
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy
from arable.sim.leases import SimLeaseNetwork, SimWatchdog
from arable.wire.agent import Change, Item

LENGTH = 30.0
SHARED = PoolId("pool-shared")
S = HostId("host-s")
PLACE = SharedFrom(host=S, address="172.31.0.9:10808")
M, V = MachineId("machine-m"), VolumeId("volume-v")


def disk(**but) -> DiskWish:
    return DiskWish(**{"volume": V, "pool": SHARED, "bytes": 8 * MIB} | but)


def guest(epoch: int, generation: int = 0, power: Power = Power.ON, **but) -> GuestWish:
    return GuestWish(
        **{"disks": (disk(shared=PLACE),)} | but,
        machine=M,
        generation=generation or epoch,
        name="m",
        power=power,
        force=True,
        cpus=1,
        cpu_mhz=500,
        memory_mib=128,
        epoch=epoch,
    )


def export(epoch: int, holder: HostId, *, fenced: HostId | None = None, **but) -> ExportWish:
    usual = {"disks": (disk(source=make.PART),), "generation": epoch}
    return ExportWish(
        **{"machine": M, "holder": holder, "epoch": epoch, "fenced": fenced} | usual | but
    )


class Server:
    """What a management server knows of one host, and wishes of it."""

    def __init__(self) -> None:
        self.generation = 0
        self.items: dict[str, GuestWish | ExportWish | SnapshotWish] = {}
        self.guests: dict[MachineId, GuestSeen] = {}
        self.exports: dict[MachineId, ExportSeen] = {}
        self.snapshots: dict[OperationId, SnapshotSeen] = {}

    def change(self) -> Change:
        kinds = {GuestWish: ItemKind.GUEST, ExportWish: ItemKind.EXPORT}
        items = [
            Item(
                kind=kinds.get(type(wish), ItemKind.SNAPSHOT),
                id=id_,
                body=msgspec.Raw(msgspec.json.encode(wish)),
            )
            for id_, wish in self.items.items()
        ]
        return Change(base=None, generation=self.generation, items=items)

    def wish(self, *wishes: GuestWish | ExportWish | SnapshotWish) -> None:
        self.items = {
            wish.operation if isinstance(wish, SnapshotWish) else wish.machine: wish
            for wish in wishes
        }
        self.generation += 1

    def hears(self, report: HostReport | None) -> None:
        if report:
            self.guests.update({seen.machine: seen for seen in report.guests})
            self.exports.update({seen.machine: seen for seen in report.exports})
            self.snapshots.update({seen.operation: seen for seen in report.snapshots})
            for gone in report.exports_gone:
                self.exports.pop(gone)


@dataclass
class Host:
    """Any host. What `frozen` says of its processes is said of the agent's alone; the watchdog works on."""

    name: HostId
    clock: VirtualClock
    network: SimLeaseNetwork
    server: Server = field(default_factory=Server)
    frozen: bool = False
    off: bool = False

    def __post_init__(self) -> None:
        self.hardware = SimHost(clock=self.clock)
        self.ledger = MemoryLedger()
        self.told = 0
        self.depot = make.make_drivers.Depot(make.IMAGE)

    def begin(self, drivers: Drivers) -> None:
        self.drivers = drivers
        self.agent = Agent(
            self.name,
            self.ledger,
            drivers,
            self.clock,
            self.depot.fetch,
            inventory=lambda: make.INVENTORY,
        )
        self.agent.hello()
        self.told = 0

    def step(self, *, connected: bool = True) -> None:
        if self.frozen or self.off:
            return
        if connected and self.told != self.server.generation:
            self.agent.receive(self.server.change())
            self.told = self.server.generation
        report = self.agent.step()
        if connected:
            self.server.hears(report)


class Compute(Host):
    """A host that runs guests."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.time = ClockBootTime(self.clock)
        self.deadlines = DeadlineMemory()
        self.watchdog = SimWatchdog(self.hardware, self.deadlines, self.time)
        self.watched = True
        self.restart()

    def restart(self) -> None:
        self.keeper = LeaseKeeper(
            lambda place: self.network.line(self.name, place),
            self.deadlines,
            lambda: self.watched,
            self.time,
            Entropy(self.name),
        )
        self.begin(
            Drivers(
                network=SimNetwork(self.hardware),
                hypervisor=SimHypervisor(self.hardware),
                pools=(SimStorage(self.hardware, PoolId(f"pool-{self.name}")),),
                leases=self.keeper,
            )
        )

    def work(self) -> None:
        if self.off or self.frozen:
            return
        for place in self.keeper.places():
            if self.keeper.due(place) <= self.time.now():
                self.keeper.step(place)

    def runs(self) -> bool:
        found = self.hardware.found.get(M)
        return found is not None and found.power is GuestPower.RUNNING

    def power(self, *, on: bool) -> None:
        if not on:
            self.hardware.lose_power()
            self.deadlines.held.clear()
        elif self.off:
            self.restart()
        self.off = not on


class Storage(Host):
    """A storage host."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.records = MemoryRecords()
        self.exports = SimExports("172.31.0.9")
        self.faults = Faults()
        self.restart()

    def restart(self) -> None:
        self.pool = SimSharedStorage(
            self.hardware,
            SHARED,
            self.records,
            self.exports,
            ClockBootTime(self.clock),
            LENGTH,
            self.faults,
        )
        self.network.desks[PLACE.address] = LeaseDesk(self.pool)
        self.begin(Drivers(network=SimNetwork(self.hardware), pools=(self.pool,)))

    def work(self) -> None:
        if self.frozen or self.off:
            self.network.desks.pop(PLACE.address, None)
            return
        self.network.desks.setdefault(PLACE.address, LeaseDesk(self.pool))
        with suppress(CloudError):  # the next round tries again
            self.pool.leases.tend()


class World:
    """All of them, and time that passes in small steps."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = SimLeaseNetwork()
        self.cut: set[HostId] = set()
        self.network.cut = lambda host, _address: host in self.cut
        self.storage = Storage(S, self.clock, self.network)
        self.a = Compute(HostId("host-a"), self.clock, self.network)
        self.b = Compute(HostId("host-b"), self.clock, self.network)
        self.computes = {host.name: host for host in (self.a, self.b)}
        for host in self.computes.values():
            host.hardware.size = self.storage.exports.size
            host.hardware.reaches = lambda source, host=host: self.storage.exports.reaches(
                source, host.name
            )

    def place(self, epoch: int, host: Compute, *, fenced: HostId | None = None) -> None:
        """The wish of a control plane: the machine is to run there, by that epoch."""
        self.storage.server.wish(export(epoch, host.name, fenced=fenced))
        for other in self.computes.values():
            other.server.wish(*([guest(epoch)] if other is host else []))

    def tick(self, seconds: float = 0.5) -> None:
        self.clock.wait(timedelta(seconds=seconds))
        for host in self.computes.values():
            if not host.off:
                host.watchdog.look()
        assert self.running() <= 1, "the machine runs twice"
        for host in (self.storage, *self.computes.values()):
            host.step(connected=host.name not in self.cut)
            host.work()
            assert self.running() <= 1, "the machine runs twice"
        assert not self.storage.exports.mishaps
        for host in self.computes.values():
            assert not host.hardware.mishaps

    def pass_(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.5)):
            self.tick()

    def running(self) -> int:
        return sum(host.runs() for host in self.computes.values())
