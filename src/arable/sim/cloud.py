"""A cloud that a seed can drive: one management server, its controllers, and real agents on simulated hosts.

Everything that may move by itself is a method that does one thing and returns (`serve`, `control`, `tend`), so that a
schedule can put anything between any two of them. What is durable (the store, ledgers, hosts' hardware) is kept apart
from what dies with a process (agents, connections, the controllers' loop).
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from arable.agent.agent import Agent
from arable.agent.carry_line import lent, point
from arable.agent.ledger import MemoryLedger
from arable.agent.patience import Waiting
from arable.agent.sight import Drivers
from arable.agent.witness import Witness
from arable.controllers.landing import Landing
from arable.controllers.loop import Loop
from arable.controllers.master import Master, all_in_turn
from arable.controllers.registry import farm_controllers, master_controllers
from arable.controllers.segment import SegmentManager, nobody_answers
from arable.controllers.settle import settle
from arable.domain.access import Caller
from arable.domain.carry import CarryWish
from arable.domain.errors import CloudError, NotFound, Unavailable
from arable.domain.host import HostState
from arable.domain.ids import HostId, NicId, OperationId, PoolId, SegmentId
from arable.domain.manifest import HostReport, Inventory
from arable.domain.replica import ReplicaWish
from arable.domain.segment import Segment, SegmentState
from arable.drivers.appliance.sim import SimAppliances
from arable.drivers.faults import Faults
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.network.sim import SimNetwork
from arable.drivers.platform.sim import SimPlatform
from arable.drivers.simhost import SimHost
from arable.drivers.storage.protocol import Flat, Passing
from arable.drivers.storage.sim import SimStorage
from arable.runtime.ca import FIRST_EPOCH, Authority
from arable.runtime.clock import Clock, VirtualClock
from arable.runtime.entropy import Entropy, Ids
from arable.services import agents, bringing
from arable.services.call import Asked, Call, Surroundings
from arable.services.grid_instructions import InstructionHands
from arable.services.hands import FarmHands
from arable.services.image_policies import ImageHands
from arable.services.order_hands import OrderHands
from arable.services.sign_on import KeyHands
from arable.sim.direct import DirectWriter
from arable.sim.files import MemoryFiles
from arable.sim.ground import Ground, Room, lay_out
from arable.sim.in_memory import in_memory
from arable.sim.pairs import Elections
from arable.sim.shared import LENGTH, SharedDisks, SimFilePools
from arable.sim.wire import Wire
from arable.store import hosts as host_rows
from arable.store import manifests, restore, schema
from arable.store.database import Database, Tx
from arable.store.writer import DryRun, Writer
from arable.wire.agent import Hello, Report, Welcome

T = TypeVar("T")

SERVER = "server-1"


@cache
def _empty() -> bytes:
    """A database with all tables."""
    made = in_memory()
    with made.write() as tx:
        schema.metadata.create_all(tx)
        raw: Any = tx.connection.driver_connection
    data: bytes = raw.serialize()
    made.close()
    return data


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


def controllers(
    writer: Writer,
    clock: Clock,
    segment: SegmentManager,
    entropy: Entropy,
    around: Callable[[], Surroundings],
) -> Loop:
    """What runs by itself at that server."""
    loop = Loop(
        writer,
        clock,
        segment.me,
        segment.acting,
        master_controllers(
            OrderHands(around), ImageHands(around), KeyHands(around).keep, InstructionHands(around)
        ),
        serving=segment.serving,
        entropy=entropy.child("farms"),
        farm_controllers=farm_controllers(FarmHands(around)),
    )
    segment.elected = loop.wake
    segment.held = partial(loop.wake, held=True)
    return loop


def make_empty(database: Database) -> None:
    """All tables, and nothing in them."""
    with database.write() as tx:
        raw: Any = tx.connection.driver_connection
    raw.deserialize(_empty())


@dataclass(slots=True)
class SimNode:
    """A host: hardware and ledger outlive its agent, and its agent outlives connections."""

    id: HostId
    pool: PoolId
    hardware: SimHost
    faults: Faults
    clock: Clock
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    wire: Wire = field(default_factory=Wire)
    agent: Agent | None = None
    witness: Witness | None = None  # its agent's
    seen: Any = None  # what that one knew at its last step
    powered: bool = True
    frozen: bool = False
    life: int = 0  # of its agents
    stopped: int = 0  # the one of them that stands still in the middle of something

    @property
    def there(self) -> bool:
        """Whether there is an agent, whatever it does."""
        return self.agent is not None and self.powered

    @property
    def still(self) -> bool:
        """Whether nothing that is there moves."""
        return self.frozen or self.hardware.halted or (self.life > 0 and self.stopped == self.life)

    @property
    def works(self) -> bool:
        """Whether its agent does anything."""
        return self.there and not self.still


def _answers(nodes: Mapping[HostId, SimNode], nic: NicId) -> bool:
    """Whether a guest is behind that port, runs, and answers those who call."""
    for node in nodes.values():
        port = node.hardware.ports.get(nic)
        if port is not None:
            return any(
                guest.awake and machine not in node.hardware.deaf
                for machine, guest in node.hardware.guests.items()
                if guest.runs and any(each.device == port.device for each in guest.runs.ports)
            )
    return False


@dataclass
class Cloud:
    """`build` makes one from a seed."""

    database: Database
    clock: VirtualClock
    entropy: Entropy
    around: Surroundings
    files: MemoryFiles
    ground: Ground
    nodes: dict[HostId, SimNode]
    writer: DirectWriter
    loop: Loop
    segment: SegmentManager
    shared: SharedDisks
    boot: int = 1

    @classmethod
    def build(
        cls,
        seed: str,
        directory: Path,
        room: Room | None = None,
        database: Database | None = None,
        clock: VirtualClock | None = None,
    ) -> "Cloud":
        """A cloud at rest. `directory` holds the CA's key and nothing else. A `database` in memory is made empty.

        `clock`: where several clouds live in one time.
        """
        clock, entropy = clock or VirtualClock(), Entropy(seed)
        database = database or in_memory()
        make_empty(database)
        ids = Ids(clock, entropy.child("ids"))
        with database.write() as tx:
            ground = lay_out(tx, room or Room(), clock, ids)
        authority = Authority.create(directory, clock=clock, entropy=entropy.child("ca"))
        files = MemoryFiles()
        files.content.update(ground.files)
        around = Surroundings(clock, entropy.child("services"), ids, files, authority)
        writer = DirectWriter(database)
        segment = member(writer, clock)
        loop = controllers(writer, clock, segment, entropy, lambda: around)
        around = replace(around, land=Landing(loop.holds))
        writer.committed = lambda nudges: loop.nudge(nudges.topics)
        shape = room or Room()
        clocks = {
            host: cls.clock_of(host, clock, entropy) for host in (*ground.hosts, *ground.storage)
        }
        nodes = {
            host: SimNode(
                host,
                pool,
                SimHost(
                    cpus=shape.host_cpus,
                    cpu_mhz=shape.host_mhz,
                    memory_mib=shape.host_memory_mib,
                    clock=clocks[host],
                ),
                Faults(),
                clocks[host],
            )
            for host, pool in (
                *ground.hosts.items(),
                *((host, pool) for host, (pool, _address) in ground.storage.items()),
            )
        }
        shared = SharedDisks(clocks, entropy.child("leases"), lambda host: nodes[host].works)
        for host, (_pool, address) in ground.storage.items():
            shared.add_share(host, address, files=shape.files)
        for host in ground.hosts if ground.storage else ():
            shared.add_runner(host, nodes[host].hardware)
        elections = Elections(
            lambda: {node.id: node.hardware for node in nodes.values() if node.powered}
        )
        for node in nodes.values():
            node.hardware.answers = partial(_answers, nodes)
            node.hardware.leads = partial(elections.leads, node.id)
        return cls(
            *(database, clock, entropy, around, files, ground, nodes, writer, loop, segment, shared)
        )

    @classmethod
    def clock_of(cls, host: HostId, true: Clock, entropy: Entropy) -> Clock:  # noqa: ARG003
        """By what that host tells the time."""
        return true

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
        if not node.powered or node.still:
            return
        agent = node.agent or self._start(node)
        if not node.wire.open and not node.wire.cut:
            node.wire.drop()
            node.wire.open = True
            node.wire.say(agent.hello())
        told = node.wire.told()
        if told is not None and (answer := agent.receive(told)) is not None:
            node.wire.say(answer)
        self.shared.move(node.id)
        reports = [agent.step()]
        if node.clock.monotonic() >= agent.glance_due():
            reports.append(agent.glance())
        for report in reports:
            if report is not None and node.wire.open:
                node.wire.say(Report(report=report))

    # --- what goes wrong

    def restart_server(self) -> None:
        """The management server is killed and another process takes over: only the store is left."""
        for node in self.nodes.values():
            node.wire.drop()
        self.boot += 1
        self.segment = member(self.writer, self.clock)
        self.loop = controllers(
            self.writer, self.clock, self.segment, self.entropy, lambda: self.around
        )
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
        self.heal_hosts()
        for node in self.nodes.values():
            node.powered = True
        self.writer.fails = lambda _where: False

    def heal_hosts(self) -> None:
        """All of that but power and servers."""
        for node in self.nodes.values():
            node.wire.cut = node.frozen = False
            node.faults.when = lambda _where: False
            node.hardware.unroutable = ""
            node.hardware.deaf.clear()
            for pool in node.hardware.pools.values():
                pool.clear()
            for machine in list(node.hardware.guests):
                node.hardware.disobey(machine, obeys=True)
        for runner in self.shared.runners.values():
            runner.cut = False

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
        inventory = self._inventory(node)
        node.life += 1
        node.witness = Witness(node.clock, LENGTH)
        node.agent = Agent(
            node.id,
            node.ledger,
            self._drivers(node),
            node.clock,
            self._fetch,
            inventory=lambda: inventory,
            witness=node.witness,
            deliver=partial(self._deliver, node),
            borrow=partial(self._borrow, node),
            ask_point=partial(self._ask_point, node),
        )
        return node.agent

    def _borrow(self, node: SimNode, wish: CarryWish) -> AbstractContextManager[Passing]:
        """A volume, of the host that has it."""
        source = self.nodes.get(wish.source)
        if source is None or not source.works or source.wire.cut or node.wire.cut:
            raise Waiting(f"{wish.source} does not answer")
        assert source.agent, "it works"
        return lent(source.agent.lending, node.id, wish.operation)

    def _ask_point(
        self, node: SimNode, wish: ReplicaWish, since: int
    ) -> AbstractContextManager[Passing]:
        """What changed on a volume, of the host that has it."""
        source = self.nodes.get(wish.source) if wish.source else None
        if source is None or not source.works or source.wire.cut or node.wire.cut:
            raise Waiting(f"{wish.source} does not answer")
        assert source.agent, "it works"
        return point(source.agent.marking, node.id, wish.replica, since)

    def _inventory(self, node: SimNode) -> Inventory:
        hardware = node.hardware
        return Inventory(
            cpus=hardware.cpus,
            cpu_mhz=hardware.cpu_mhz,
            memory_mib=hardware.memory_mib,
            disk_mib=100_000,
            hypervisor="sim",
            roles=("storage",) if node.id in self.shared.shares else ("compute", "routing"),
            mounts=self.ground.mounts.get(node.id, ()),
        )

    def _drivers(self, node: SimNode) -> Drivers:
        network = SimNetwork(node.hardware, node.faults)
        if node.id in self.shared.shares:
            pool = self.shared.pool(node.id, node.hardware, node.pool, node.faults)
            return Drivers(network=network, pools=(pool,))
        movable = node.id in self.shared.runners
        rails = self.shared.rails if movable else None
        hypervisor = SimHypervisor(node.hardware, node.faults, rails=rails, host=node.id)
        return Drivers(
            network=network,
            hypervisor=hypervisor,
            appliances=SimAppliances(node.hardware, network, node.faults),
            pools=(SimStorage(node.hardware, node.pool, node.faults),),
            leases=self.shared.keeper(node.id) if movable else None,
            mover=self.shared.mover(node.id, hypervisor) if movable else None,
            files=self._mounted(node),
        )

    def _mounted(self, node: SimNode) -> SimFilePools | None:
        mounts = self.ground.mounts.get(node.id, ())
        kept = {pool: host for host, (pool, _address) in self.ground.storage.items()}
        pools = {pool: self.shared.shares[kept[pool]] for pool in mounts}
        return SimFilePools(pools) if pools else None

    def _fetch(self, sha256: str) -> Iterable[bytes]:
        if sha256 not in self.files.content:
            raise NotFound(f"no part {sha256}")
        return [self.files.content[sha256]]

    def _deliver(self, node: SimNode, operation: OperationId, flat: Flat) -> None:
        """What the gateway does with what a host brings."""
        writer = self._door(node)
        with self.database.read() as tx:
            taken = bringing.may(
                tx, self.around, node.id, FIRST_EPOCH, operation, flat.sha256, flat.length
            )
        for piece in flat.read():
            taken.write(piece)
        received = taken.done()
        done = writer.submit(
            lambda tx: bringing.brought(tx, self.around, node.id, FIRST_EPOCH, operation, received)
        )
        if not done.done():
            raise Waiting("no server answers in time")
        try:
            done.result()
        except Unavailable as error:
            raise Waiting(error.public) from error

    def _door(self, node: SimNode) -> DirectWriter:
        """Of the server that it reaches. Raises `Waiting`."""
        if node.wire.cut:
            raise Waiting("no server is reached")
        return self.writer

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
            found = agents.changes(tx, self.around.authority, {node.id: node.wire.have}).get(
                node.id
            )
        if found is None or (found.generation == node.wire.have and not (first or node.wire.owed)):
            node.wire.owed = first or node.wire.owed
            return
        node.wire.tell(found)
        node.wire.have, node.wire.owed = found.generation, False
