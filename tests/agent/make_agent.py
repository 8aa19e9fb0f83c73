"""A simulated host with an agent on it, and wishes to give it. What matters in a test is said there, the rest here."""

import hashlib
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any

import msgspec

from arable.agent.agent import Agent
from arable.agent.aside import Aside, at_once
from arable.agent.copies import Deliver, nobody
from arable.agent.ledger import MemoryLedger
from arable.agent.sight import Drivers
from arable.agent.witness import Witness
from arable.domain.carry import CarryWish
from arable.domain.ids import (
    HostId,
    MachineId,
    NetworkId,
    NicId,
    OperationId,
    PoolId,
    SnapshotId,
    VolumeId,
)
from arable.domain.manifest import (
    ApplianceWish,
    DiskWish,
    GuestWish,
    HostManifest,
    HostReport,
    ImagePart,
    Inventory,
    ItemKind,
    LeaseWish,
    PartFormat,
    PartRole,
    PeerWish,
    PortWish,
    Power,
    ScrapWish,
    Seed,
    TunnelWish,
    Wish,
)
from arable.domain.snapshot import SnapshotAct, SnapshotSeen, SnapshotWish
from arable.domain.units import MIB
from arable.drivers.appliance.sim import SimAppliances
from arable.drivers.faults import Faults
from arable.drivers.hypervisor.protocol import GuestPower
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost
from arable.drivers.storage.sim import SimStorage
from arable.runtime.clock import VirtualClock
from arable.wire.agent import Change, Hello, Item
from drivers import make_drivers

HOST = HostId("host-a")
POOL = PoolId("pool-a")
INVENTORY = Inventory(cpus=16, cpu_mhz=38_400, memory_mib=65_536, disk_mib=512_000)
IMAGE = make_drivers.qcow2(content=b"boot me")
PART = make_drivers.part(IMAGE)


def machine(name: str) -> MachineId:
    return MachineId(f"machine-{name}")


def volume(name: str) -> VolumeId:
    return VolumeId(f"volume-{name}")


def nic(name: str) -> NicId:
    return NicId(f"nic-{name}")


def network(name: str) -> NetworkId:
    return NetworkId(f"network-{name}")


def disk(name: str = "a", **but: Any) -> DiskWish:
    usual = {"volume": volume(name), "pool": POOL, "bytes": 8 * MIB, "source": PART}
    return DiskWish(**usual | but)


def port(name: str = "a", **but: Any) -> PortWish:
    usual = {
        "nic": nic(name),
        "network": network("a"),
        "vlan": 100,
        "mac": "02:00:0a:01:01:0a",
        "address": "10.1.1.10",
        "rate_kbps": 100_000,
    }
    return PortWish(**usual | but)


def guest(name: str = "a", **but: Any) -> GuestWish:
    """A guest with one disk over the image, one port and cloud-init data."""
    usual = {
        "machine": machine(name),
        "generation": 1,
        "name": name,
        "cpus": 1,
        "cpu_mhz": 500,
        "memory_mib": 256,
        "disks": (disk(name),),
        "ports": (port(name),),
        "seed": Seed(meta_data=f"instance-id: {name}\n", user_data="#cloud-config\n{}\n"),
    }
    return GuestWish(**usual | but)


def off(name: str = "a", **but: Any) -> GuestWish:
    return guest(name, **{"power": Power.OFF, "generation": 2} | but)


def appliance(name: str = "a", **but: Any) -> ApplianceWish:
    return make_drivers.appliance(**{"network": network(name), "vlan": 100} | but)


def lease(name: str = "a", of: str = "a", **but: Any) -> LeaseWish:
    return make_drivers.lease(network(of), **{"nic": nic(name), "name": name} | but)


def tunnel(name: str = "a", **but: Any) -> TunnelWish:
    return TunnelWish(**{"network": network(name), "vni": 70_001, "mtu": 1450} | but)


def scrap(name: str = "a") -> ScrapWish:
    return ScrapWish(volume=volume(name), pool=POOL)


def snapshot(act: SnapshotAct, name: str = "s", of: str = "a", **but: Any) -> SnapshotWish:
    """Wished by an operation of its own."""
    usual = {
        "operation": OperationId(make_drivers.fresh("operation")),
        "act": act,
        "snapshot": SnapshotId(f"snapshot-{name}"),
        "volume": volume(of),
        "pool": POOL,
        "bytes": 8 * MIB,
    }
    return SnapshotWish(**usual | but)


def item(wish: Wish) -> Item:
    match wish:
        case GuestWish():
            kind, key = ItemKind.GUEST, wish.machine
        case ApplianceWish():
            kind, key = ItemKind.APPLIANCE, wish.network
        case LeaseWish():
            kind, key = ItemKind.LEASE, wish.nic
        case ScrapWish():
            kind, key = ItemKind.SCRAP, wish.volume
        case SnapshotWish():
            kind, key = ItemKind.SNAPSHOT, wish.operation
        case CarryWish():
            kind, key = ItemKind.CARRY, wish.operation
        case PeerWish():
            kind, key = ItemKind.PEER, wish.host
        case TunnelWish():
            kind, key = ItemKind.TUNNEL, wish.network
    return Item(kind=kind, id=key, body=msgspec.Raw(msgspec.json.encode(wish)))


def no_longer(wish: Wish) -> Item:
    made = item(wish)
    return Item(kind=made.kind, id=made.id)


def whole(generation: int, *wishes: Wish) -> Change:
    return Change(base=None, generation=generation, items=[item(wish) for wish in wishes])


class Server:
    """Believes what reports say, as a management server would: what it then knows is what tests judge."""

    def __init__(self) -> None:
        self.reports: list[HostReport] = []
        self.guests: dict[MachineId, Any] = {}
        self.appliances: dict[NetworkId, Any] = {}
        self.gone: set[MachineId] = set()
        self.scrapped: set[VolumeId] = set()
        self.vlans: tuple[int, ...] = ()
        self.snapshots: dict[OperationId, SnapshotSeen] = {}

    def hears(self, report: HostReport | None) -> None:
        if report is None:
            return
        self.reports.append(report)
        if report.full:
            self.gone |= self.guests.keys() - {seen.machine for seen in report.guests}
            self.guests.clear()
            self.appliances.clear()
            self.scrapped.clear()
        self.guests.update({seen.machine: seen for seen in report.guests})
        self.appliances.update({seen.network: seen for seen in report.appliances})
        for gone in report.gone:
            self.guests.pop(gone, None)
            self.gone.add(gone)
        for network in report.appliances_gone:
            self.appliances.pop(network, None)
        self.scrapped |= set(report.scrapped)
        self.snapshots.update({seen.operation: seen for seen in report.snapshots})
        self.vlans = report.vlans if report.vlans is not None else self.vlans

    def said(self, name: str) -> Any:
        """What the last report that named this guest said of it."""
        return self.guests[machine(name)]


class Rig:
    """A simulated host, the disk of its ledger, an agent, and a server that listens to it."""

    def __init__(self, faults: Faults | None = None, **hardware: Any) -> None:
        self.clock = VirtualClock()
        self.hardware = SimHost(clock=self.clock, **hardware)
        self.faults = faults or Faults()
        self.ledger: Any = MemoryLedger()
        self.depot = make_drivers.Depot(IMAGE)
        self.inventory = INVENTORY
        self.generation = 0
        self.wished: dict[tuple[str, str], Wish] = {}
        self.server = Server()
        self.witness = Witness(self.clock)
        self.received: list[Collection[str]] = []  # parts that are needed, as downloads are told
        self.agent = self.restart()
        self.drivers: Drivers

    def restart(
        self,
        *,
        alone: bool = False,
        aside: Aside = at_once,
        copying: Aside = at_once,
        deliver: Deliver = nobody,
    ) -> Agent:
        """The agent process dies and comes back; the host does not notice. `alone`: it reaches no server."""
        network = SimNetwork(self.hardware, self.faults)
        self.drivers = Drivers(
            network=network,
            hypervisor=SimHypervisor(self.hardware, self.faults),
            appliances=SimAppliances(self.hardware, network, self.faults),
            pools=(SimStorage(self.hardware, POOL, self.faults),),
        )
        self.agent = Agent(
            HOST,
            self.ledger,
            self.drivers,
            self.clock,
            self.depot.fetch,
            inventory=lambda: self.inventory,
            witness=self.witness,
            aside=aside,
            copying=copying,
            deliver=deliver,
            received=self.received.append,
        )
        if alone:
            self.agent.hello()
        else:
            self.connect()
        return self.agent

    def connect(self) -> Hello:
        """The agent greets its server, which sends all unless the agent holds the newest."""
        hello = self.agent.hello()
        if self.generation and hello.have != self.generation:
            self.agent.receive(self.all())
        return hello

    def wish(self, *wishes: Wish, no: Iterable[Wish] = ()) -> None:
        """The server's manifest changes, and the agent is told the difference."""
        items = [*(item(wish) for wish in wishes), *(no_longer(wish) for wish in no)]
        for wish in wishes:
            made = item(wish)
            self.wished[made.kind, made.id] = wish
        for wish in no:
            made = item(wish)
            self.wished.pop((made.kind, made.id), None)
        base = self.generation
        self.generation += 1
        answer = self.agent.receive(Change(base=base, generation=self.generation, items=items))
        if answer is not None:
            assert answer.have == 0
            self.agent.receive(self.all())

    def all(self) -> Change:
        return whole(self.generation, *self.wished.values())

    def step(self) -> HostReport | None:
        report = self.agent.step()
        self.server.hears(report)
        return report

    def settle(self, seconds: float = 1200) -> None:
        """Let time pass, stepping whenever the agent thinks it worth while, until all has been quiet for a while."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.step()
            wait = max(self.agent.due() - self.clock.monotonic(), 0.001)
            self.clock.wait(timedelta(seconds=wait))
        self.step()

    def after(self, seconds: float) -> None:
        self.clock.wait(timedelta(seconds=seconds))
        self.step()

    def runs(self, name: str) -> bool:
        found = self.hardware.found.get(machine(name))
        return found is not None and found.power is GuestPower.RUNNING

    def starts(self, name: str) -> int:
        return self.hardware.guests[machine(name)].starts

    @property
    def manifest(self) -> HostManifest:
        return self.agent._ground.wishes.manifest


def keep_kernel(rig: Rig, letter: str, mib: int = 1) -> str:
    """In the host's pool, as of a machine that is gone by now: nothing needs it. Its SHA-256."""
    content = letter.encode() * (mib * MIB)
    part = ImagePart(
        role=PartRole.KERNEL,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        format=PartFormat.BLOB,
    )
    SimStorage(rig.hardware, POOL).admit(part, lambda _sha256: [content])
    return part.sha256
