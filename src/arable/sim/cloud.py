"""A cloud that a seed can drive: one management server, its controllers, and real agents on simulated hosts.

Everything that may move by itself is a method that does one thing and returns (`serve`, `control`, `tend`), so that a
schedule can put anything between any two of them. What is durable (the store, ledgers, hosts' hardware) is kept apart
from what dies with a process (agents, connections, the controllers' loop).
"""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from arable.agent.agent import Agent
from arable.agent.ledger import MemoryLedger
from arable.agent.sight import Drivers
from arable.controllers.landing import Landing
from arable.controllers.loop import Loop
from arable.controllers.master import Master, all_in_turn
from arable.controllers.segment import SegmentManager, nobody_answers
from arable.controllers.settle import settle
from arable.domain.access import Caller
from arable.domain.errors import CloudError, NotFound, Unavailable
from arable.domain.host import HostState
from arable.domain.ids import HostId, PoolId, SegmentId
from arable.domain.image_files import PartSaid, Upload
from arable.domain.manifest import HostReport, ImagePart, Inventory
from arable.domain.segment import Segment, SegmentState
from arable.drivers.appliance.sim import SimAppliances
from arable.drivers.faults import Faults
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.network.sim import SimNetwork
from arable.drivers.platform.sim import SimPlatform
from arable.drivers.simhost import SimHost
from arable.drivers.storage.sim import SimStorage
from arable.runtime.ca import Authority
from arable.runtime.clock import Clock, VirtualClock
from arable.runtime.entropy import Entropy, Ids
from arable.services import agents
from arable.services.call import Asked, Call, Surroundings
from arable.sim.direct import DirectWriter
from arable.sim.ground import Ground, Room, lay_out
from arable.sim.shared import SharedDisks
from arable.sim.wire import Wire
from arable.store import hosts as host_rows
from arable.store import manifests, restore, schema
from arable.store.database import Database, Tx
from arable.store.writer import DryRun, Writer
from arable.wire.agent import Hello, Report, Welcome

T = TypeVar("T")

SERVER = "server-1"


class NoFiles:
    """Simulated clouds upload nothing: their one image is there from the start."""

    def begin(self, said: PartSaid) -> Upload:
        raise Unavailable(f"no uploads here ({said.role})")

    def admit_path(self, path: Path, said: PartSaid) -> ImagePart:
        raise Unavailable(f"no uploads here ({path}, {said.role})")

    def path(self, sha256: str) -> Path:
        raise NotFound(f"no part {sha256}")

    def parts(self) -> frozenset[str]:
        return frozenset()

    def remove(self, sha256: str) -> None:
        """Nothing to remove."""


def member(writer: Writer, clock: Clock) -> SegmentManager:
    """The one management server, as a member of its cluster of one."""

    def transact(work: Callable[[Tx], Any]) -> Any:
        return writer.submit(work).result()

    me = SegmentId(SERVER)
    about = Segment(
        id=me, seq=0, epoch=0, address="", state=SegmentState.READY, heartbeat_at=clock.now()
    )
    master = Master(me, transact, all_in_turn(nobody_answers), SimPlatform(), clock)
    return SegmentManager(about, transact, clock, duty=master.step)


def controllers(writer: Writer, clock: Clock, segment: SegmentManager, entropy: Entropy) -> Loop:
    """What runs by itself at that server."""
    loop = Loop(
        writer,
        clock,
        segment.me,
        segment.acting,
        serving=segment.serving,
        entropy=entropy.child("farms"),
    )
    segment.elected = loop.wake
    segment.held = partial(loop.wake, held=True)
    return loop


@dataclass(slots=True)
class SimNode:
    """A host: hardware and ledger outlive its agent, and its agent outlives connections."""

    id: HostId
    pool: PoolId
    hardware: SimHost
    faults: Faults
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    wire: Wire = field(default_factory=Wire)
    agent: Agent | None = None
    powered: bool = True
    frozen: bool = False

    @property
    def works(self) -> bool:
        """Whether its agent does anything."""
        return self.agent is not None and self.powered and not self.frozen


@dataclass
class Cloud:
    """`build` makes one from a seed."""

    database: Database
    clock: VirtualClock
    entropy: Entropy
    around: Surroundings
    ground: Ground
    nodes: dict[HostId, SimNode]
    writer: DirectWriter
    loop: Loop
    segment: SegmentManager
    shared: SharedDisks
    boot: int = 1

    @classmethod
    def build(cls, seed: str, directory: Path, room: Room | None = None) -> "Cloud":
        """A cloud at rest. `directory` holds the CA's key and nothing else."""
        clock, entropy = VirtualClock(), Entropy(seed)
        database = Database("sqlite://")
        with database.write() as tx:
            schema.metadata.create_all(tx)
        ids = Ids(clock, entropy.child("ids"))
        with database.write() as tx:
            ground = lay_out(tx, room or Room(), clock, ids)
        authority = Authority.create(directory, clock=clock, entropy=entropy.child("ca"))
        around = Surroundings(clock, entropy.child("services"), ids, NoFiles(), authority)
        writer = DirectWriter(database)
        segment = member(writer, clock)
        loop = controllers(writer, clock, segment, entropy)
        around = replace(around, land=Landing(loop.holds))
        writer.committed = lambda nudges: loop.nudge(nudges.topics)
        shape = room or Room()
        nodes = {
            host: SimNode(
                host,
                pool,
                SimHost(
                    cpus=shape.host_cpus,
                    cpu_mhz=shape.host_mhz,
                    memory_mib=shape.host_memory_mib,
                    clock=clock,
                ),
                Faults(),
            )
            for host, pool in (
                *ground.hosts.items(),
                *((host, pool) for host, (pool, _address) in ground.storage.items()),
            )
        }
        shared = SharedDisks(clock, entropy.child("leases"), lambda host: nodes[host].works)
        for host, (_pool, address) in ground.storage.items():
            shared.add_share(host, address)
        for host in ground.hosts if ground.storage else ():
            shared.add_runner(host, nodes[host].hardware)
        return cls(database, clock, entropy, around, ground, nodes, writer, loop, segment, shared)

    # --- what customers do

    def ask(self, caller: Caller, work: Callable[[Call], T], *, dry_run: bool = False) -> T:
        """One request, executed as the API would."""

        def within(tx: Tx) -> T:
            answer = work(Call(tx, caller, self.around, dry_run))
            if dry_run:
                raise DryRun(answer)
            return answer

        return self.writer.submit(within).result()

    def ask_batch(self, caller: Caller, batch: Any, *args: Any) -> Any:
        """One request of a kind that is executed in batches."""
        return self.writer.submit_batch(batch, Asked(caller, self.around, args)).result()

    # --- what moves by itself

    def control(self) -> None:
        """The controllers do what is due."""
        self.segment.step()
        self.loop.step()

    def serve(self, node: SimNode) -> None:
        """The gateway: hear one word of a host, and tell it what is new."""
        if node.wire.cut:
            return
        word = node.wire.heard()
        match word:
            case Hello():
                self._greeted(node, word)
            case Report():
                self._reported(node, word.report)
            case None:
                pass
        if node.wire.known:
            self._push(node)

    def tend(self, node: SimNode) -> None:
        """The host's agent hears one word, does one round and says what it has to say."""
        if not node.powered or node.frozen:
            return
        agent = node.agent or self._start(node)
        if not node.wire.open and not node.wire.cut:
            node.wire.drop()
            node.wire.open = True
            node.wire.say(agent.hello())
        told = node.wire.told()
        if told is not None and (answer := agent.receive(told)) is not None:
            node.wire.say(answer)
        report = agent.step()
        if report is not None and node.wire.open:
            node.wire.say(Report(report=report))

    # --- what goes wrong

    def restart_server(self) -> None:
        """The management server is killed and another process takes over: only the store is left."""
        for node in self.nodes.values():
            node.wire.drop()
        self.boot += 1
        self.segment = member(self.writer, self.clock)
        self.loop = controllers(self.writer, self.clock, self.segment, self.entropy)
        self.around = replace(self.around, land=Landing(self.loop.holds))
        self.writer.committed = lambda nudges: self.loop.nudge(nudges.topics)

    def back_up(self) -> sqlite3.Connection:
        """A copy of the database as it is."""
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        self._raw().backup(copy)
        return copy

    def restore(self, copy: sqlite3.Connection) -> None:
        """All servers stop, the database becomes that copy, a server starts. Nothing else knows of it."""
        copy.backup(self._raw())
        with self.database.write() as tx:
            restore.renew(tx, f"after-{self.boot}", self.clock.now())
        self.restart_server()

    def _raw(self) -> sqlite3.Connection:
        """In memory there is one connection."""
        raw: Any = self.database.engine.raw_connection()
        found: sqlite3.Connection = raw.driver_connection
        raw.close()
        return found

    def kill_agent(self, node: SimNode) -> None:
        """The agent's process dies; what runs on its host does not."""
        node.agent = None
        self.shared.agent_dies(node.id)
        node.wire.drop()

    def cut(self, node: SimNode) -> None:
        """The management network does not reach the host."""
        node.wire.drop()
        node.wire.cut = True

    def power_off(self, node: SimNode) -> None:
        """Everything on the host is gone but its disks and its ledger."""
        self.kill_agent(node)
        node.hardware.lose_power()
        self.shared.power_dies(node.id)
        node.powered = False

    def heal(self) -> None:
        """Everything that was broken works again."""
        for node in self.nodes.values():
            node.wire.cut = node.frozen = False
            node.powered = True
            node.faults.when = lambda _where: False
            node.hardware.unroutable = ""
            for machine in list(node.hardware.guests):
                node.hardware.disobey(machine, obeys=True)
        for runner in self.shared.runners.values():
            runner.cut = False
        self.writer.fails = lambda _where: False

    def pass_time(self, span: timedelta) -> None:
        """What goes by the clock alone happens."""
        self.clock.wait(span)
        self.shared.tick()

    def settle_down(self, rounds: int) -> None:
        """Let everybody move in turn until there has been enough time for everything."""
        for _ in range(rounds):
            self.pass_time(timedelta(seconds=2))
            self.control()
            for node in self.nodes.values():
                for _word in range(3):
                    self.tend(node)
                    self.serve(node)

    # --- within

    def _start(self, node: SimNode) -> Agent:
        hardware = node.hardware
        drivers = self._drivers(node)
        inventory = Inventory(
            cpus=hardware.cpus,
            cpu_mhz=hardware.cpu_mhz,
            memory_mib=hardware.memory_mib,
            disk_mib=100_000,
            hypervisor="sim",
            roles=("storage",) if node.id in self.shared.shares else ("compute", "routing"),
        )
        node.agent = Agent(
            node.id, node.ledger, drivers, self.clock, self._fetch, inventory=lambda: inventory
        )
        return node.agent

    def _drivers(self, node: SimNode) -> Drivers:
        network = SimNetwork(node.hardware, node.faults)
        if node.id in self.shared.shares:
            pool = self.shared.pool(node.id, node.hardware, node.pool, node.faults)
            return Drivers(network=network, pools=(pool,))
        return Drivers(
            network=network,
            hypervisor=SimHypervisor(node.hardware, node.faults),
            appliances=SimAppliances(node.hardware, network, node.faults),
            pools=(SimStorage(node.hardware, node.pool, node.faults),),
            leases=self.shared.keeper(node.id) if node.id in self.shared.runners else None,
        )

    def _fetch(self, sha256: str) -> Iterable[bytes]:
        return [self.ground.files[sha256]]

    def _greeted(self, node: SimNode, hello: Hello) -> None:
        try:
            self.writer.submit(lambda tx: self._up(tx, node.id)).result()
        except CloudError:
            node.wire.drop()  # the gateway hangs up on those whose greeting it could not keep
            return
        node.wire.known, node.wire.have = True, hello.have
        node.wire.tell(Welcome(server=SERVER))
        self._push(node, first=True)

    def _up(self, tx: Tx, host: HostId) -> None:
        host_rows.connected(tx, [host], SERVER, self.clock.now())
        tx.execute(schema.host.update().where(schema.host.c.id == host).values(state=HostState.UP))

    def _reported(self, node: SimNode, report: HostReport) -> None:
        def work(tx: Tx) -> None:
            host_rows.heard(tx, [node.id], SERVER, self.clock.now())
            manifests.acked(tx, {node.id: report.generation})
            settle(tx, [report], self.clock.now())

        try:
            self.writer.submit(work).result()
        except CloudError:
            node.wire.drop()  # what it said may be lost: it must say everything anew

    def _push(self, node: SimNode, *, first: bool = False) -> None:
        with self.database.read() as tx:
            found = agents.changes(tx, {node.id: node.wire.have}).get(node.id)
        if found is None or (found.generation == node.wire.have and not (first or node.wire.owed)):
            node.wire.owed = first or node.wire.owed
            return
        node.wire.tell(found)
        node.wire.have, node.wire.owed = found.generation, False
