"""A whole region that a seed can drive: several management servers on one store, hosts that look after each other,
shared disks, power that can be switched.

Time drives it (`live`): whoever has something to do does it in its time, in an order that the dice choose. What goes
wrong is done to it from outside (`happenings.py`). The parts are real; networks, clocks, power and disks are made up.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

from arable.agent.agent import Agent
from arable.agent.patience import Waiting
from arable.agent.returning import Pauses, Returning
from arable.domain.access import Caller
from arable.domain.carry import CarryWish
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import HostId
from arable.domain.manifest import Inventory
from arable.domain.platform import Place
from arable.domain.pool import FILE
from arable.domain.power import Bmc, PowerSwitch
from arable.domain.replica import ReplicaWish
from arable.drivers.platform.sim import SimPlatform
from arable.drivers.power.sim import SimPower
from arable.drivers.storage.protocol import Passing
from arable.runtime.clock import Clock, VirtualClock
from arable.runtime.entropy import Entropy, Random
from arable.services import host_power
from arable.services.call import Asked, Call
from arable.sim.clocks import HOST_DRIFT, SERVER_DRIFT, SkewedClock
from arable.sim.cloud import Cloud, SimNode
from arable.sim.direct import DirectWriter
from arable.sim.fences import Fences
from arable.sim.ground import Room
from arable.sim.invariants import Broken
from arable.sim.servers import SimServer
from arable.sim.standstills import Places, Standstills
from arable.sim.wire import Wire
from arable.store import bmcs
from arable.store.database import Database, Tx
from arable.store.ended import Ended
from arable.store.nudges import Nudges
from arable.store.writer import DryRun
from arable.wire.agent import Elsewhere, Report, ToAgent, Welcome
from arable.wire.cluster import Pong
from arable.wire.hosts import PowerIn

T = TypeVar("T")

STORE = "store"
GRAIN = 0.5  # seconds between two moves of anybody
ASK_SECONDS = 2.0  # between questions to a peer
PATIENCE = 20.0  # seconds after which an agent gives up a server that says nothing
PAUSES = Pauses(2.0, 15.0)
SILENT_FOR = 20
APART_SECONDS = 300.0  # by so much at most machines' clocks are wrong in the beginning


class Region(Cloud):
    """`Region.of` makes one. The base's own server never moves here."""

    room: Room
    dice: Random
    servers: dict[str, SimServer]
    clocks: dict[str, SkewedClock]  # of servers
    database_clock: SkewedClock
    fences: Fences
    cuts: set[frozenset[str]]  # links that are cut, between servers, hosts and the store
    pauses: Standstills
    halted: dict[HostId, float]  # hosts that stand still as a whole, and until when
    away: bool  # the store is, from everybody
    apart: set[HostId]  # hosts whose every cable is pulled
    restarts: bool  # whether there is a platform that restarts servers
    lazy: float  # how often somebody does not come to move, for its processor is busy

    @classmethod
    def of(
        cls,
        seed: str,
        directory: Path,
        room: Room,
        database: Database | None = None,
        clock: VirtualClock | None = None,
    ) -> Self:
        """A region at rest whose servers have just begun."""
        made = cls.build(seed, directory, room, database, clock)
        assert isinstance(made, cls)
        made.furnish(room)
        return made

    @classmethod
    def clock_of(cls, host: HostId, true: Clock, entropy: Entropy) -> Clock:
        return _clock(true, entropy.child(f"clock/{host}").random, HOST_DRIFT)

    def furnish(self, room: Room) -> None:
        """What the base does not have."""
        self.room, self.dice = room, self.entropy.child("region").random
        self.servers, self.fences = {}, Fences()
        self.clocks = {
            f"server-{n}": _clock(
                self.clock, self.entropy.child(f"clock/server-{n}").random, SERVER_DRIFT
            )
            for n in range(1, room.servers + 1)
        }
        self.database_clock = SkewedClock(self.clock)
        self.pauses = Standstills(self.live)
        self.halted = {}
        for node in self.nodes.values():
            node.faults = Places(here=self.pauses.here)
        self.shared.moving = lambda host: self.pauses.within(self.nodes[host])
        self.shared.network.answering = self._storage_answers
        self.cuts, self.apart, self.away = set(), set(), False
        self.restarts, self.lazy = True, 0.0
        self.told_ends: Counter[str] = Counter()
        self.unheard_ends = False  # a server died that may have had an end to tell
        self.asked_at: dict[str, float] = {}
        self._lives: Counter[str] = Counter()
        self._returning: dict[HostId, Returning] = {}
        self._come_at: dict[HostId, float] = {}
        self._mute_since: dict[HostId, float] = {}
        self._peers_at = 0.0
        self.names = [f"server-{n}" for n in range(1, room.servers + 1)]
        self.shared.heard = self._lease_asked
        with self.database.read() as tx:
            routers = "select id from host where roles like '%routing%'"
            self._routers = {row[0] for row in tx.exec_driver_sql(routers)}
        self._bmcs()
        for host in self.nodes:
            chance = self.entropy.child(f"returning/{host}")
            self._returning[host] = Returning(self.names, chance, PAUSES)
        for name in self.names:
            self.start_server(name)

    def _bmcs(self) -> None:
        if not self.room.bmcs:
            return
        with self.database.write() as tx:
            for host in self.ground.hosts:
                at = self.clock.now()
                bmcs.put(tx, Bmc(host=host, url="https://bmc/", user="a", sealed="", created_at=at))

    # --- servers

    def start_server(self, name: str) -> SimServer:
        """A process of that name begins; one that is there is killed first."""
        if name in self.servers:
            self.kill_server(self.servers[name])
        self._lives[name] += 1
        platform = SimPlatform(self._restarted)
        made = SimServer(
            name,
            self._lives[name],
            self,
            self.database,
            self.around,
            platform,
            self.fences,
            self.entropy,
        )
        self.servers[name] = made
        return made

    def kill_server(self, server: SimServer, *, after_commit: bool = False) -> None:
        """The process is gone, and all who were connected see that at once."""
        self.unheard_ends |= server.endings.waiting > 0 or after_commit or server.stopped > 0
        server.die(after_commit=after_commit)
        for host, node in self.nodes.items():
            if node.wire.server == _key(server):
                self._lost(host, node.wire)

    def stop_server(self, server: SimServer) -> None:
        """It ends as it should."""
        server.leave()
        self.kill_server(server)

    def _restarted(self, place: Place) -> None:
        if self.restarts:
            self.start_server(place.segment)

    def up(self) -> list[SimServer]:
        """Those that do something."""
        return [server for server in self.servers.values() if server.works]

    # --- what servers find around them (`servers.Around`)

    def clock_of_server(self, server: str) -> Clock:
        return self.clocks[server]

    def host_clocks(self) -> Iterable[tuple[str, SkewedClock]]:
        """By which hosts tell the time."""
        return [
            (id_, each.clock)
            for id_, each in self.nodes.items()
            if isinstance(each.clock, SkewedClock)
        ]

    def database_time(self) -> datetime:
        return self.database_clock.now()

    def reaches_store(self, server: str) -> bool:
        return not self.away and frozenset((server, STORE)) not in self.cuts

    def ping(self, by: str, address: str) -> Pong | None:
        other = self.servers.get(address)
        if other is None or not other.works or frozenset((by, address)) in self.cuts:
            return None
        return other.segment.pong()

    def told(self, by: SimServer, nudges: Nudges) -> None:
        for other in self.servers.values():
            if other is not by and other.up and self.reaches_store(other.name):
                other.nudged(nudges)

    def lines(self, server: SimServer) -> Mapping[HostId, Wire]:
        key = _key(server)
        return {
            host: node.wire
            for host, node in self.nodes.items()
            if node.wire.server == key and node.wire.open and self._linked(host, server)
        }

    @property
    def switches(self) -> bool:
        """Whether there is anything that switches hosts."""
        return self.room.bmcs

    def switch(self, bmc: Bmc) -> PowerSwitch:
        node = self.nodes[bmc.host]

        def switched(on: bool) -> None:
            if on:
                node.powered = True
            else:
                self._switched_off(node)

        return SimPower(lambda: node.powered, switched, node.faults)

    def _switched_off(self, node: SimNode) -> None:
        awake = [machine for machine, guest in node.hardware.guests.items() if guest.awake]
        if awake and node.id in self.resting():
            self.fences.broken.append(f"{node.id} is put to sleep with {awake}")
        self.power_off(node)

    def resting(self) -> set[HostId]:
        """Hosts that are to be without power until they are needed."""
        with self.database.read() as tx:
            return {HostId(row[0]) for row in tx.exec_driver_sql("select id from host where rests")}

    def ended(self, by: SimServer, what: Ended) -> None:  # noqa: ARG002
        self.told_ends[what.id] += 1

    # --- what customers do

    def server_for_a_call(self) -> SimServer:
        """Behind the load balancer: any that is there. Raises `Unavailable`."""
        there = self.up()
        if not there:
            raise Unavailable("no management server answers")
        return self.dice.choice(there)

    def ask(self, caller: Caller, work: Any, *, dry_run: bool = False) -> Any:
        server = self.server_for_a_call()

        def within(tx: Tx) -> Any:
            answer = work(Call(tx, caller, server.around, dry_run))
            if dry_run:
                raise DryRun(answer)
            return answer

        return _answer(server.writer.submit(within))

    def ask_batch(self, caller: Caller, batch: Any, *args: Any) -> Any:
        server = self.server_for_a_call()
        return _answer(server.writer.submit_batch(batch, Asked(caller, server.around, args)))

    # --- time

    def live(self, seconds: float, grain: float = GRAIN) -> None:
        """So much time passes, in which everybody does what is due."""
        left = seconds
        while left > 1e-6:
            step = min(grain, left)
            left -= step
            self._go_on()
            self.pass_time(timedelta(seconds=step))
            self.move()

    def move(self) -> None:
        """Everybody does what is due now."""
        self._look_after_each_other()
        movers: list[SimServer | SimNode] = [*self.servers.values(), *self.nodes.values()]
        self.dice.shuffle(movers)
        for each in movers:
            if self.lazy and self.dice.random() < self.lazy:
                continue
            if isinstance(each, SimServer):
                each.step()
            else:
                self.tend(each)
        self._look()

    def halt(self, node: SimNode, seconds: float) -> None:
        """The whole machine stands still for so long, its guests and watchdog with it."""
        node.hardware.halt()
        self.halted[node.id] = self.clock.monotonic() + seconds

    def _go_on(self) -> None:
        """Machines whose time is over. Their watchdogs come first: what guests do until those have looked is refused by
        the storage hosts, and the world has no word for a guest that runs without disks.
        """
        now = self.clock.monotonic()
        for host in [host for host, until in self.halted.items() if now >= until]:
            del self.halted[host]
            self._unhalt(self.nodes[host])

    def _unhalt(self, node: SimNode) -> None:
        node.hardware.halt(on=False)
        if node.id in self.shared.runners:
            self.shared.runners[node.id].watchdog.look()

    def _storage_answers(self, address: str) -> AbstractContextManager[None]:
        host = next(id_ for id_, share in self.shared.shares.items() if share.address == address)
        return self.pauses.within(self.nodes[host])

    @contextmanager
    def _borrow(self, node: SimNode, wish: CarryWish) -> Iterator[Passing]:
        with super()._borrow(node, wish) as passing, self.pauses.whole():
            yield passing

    @contextmanager
    def _ask_point(self, node: SimNode, wish: ReplicaWish, since: int) -> Iterator[Passing]:
        with super()._ask_point(node, wish, since) as passing, self.pauses.whole():
            yield passing

    def power_off(self, node: SimNode) -> None:
        super().power_off(node)
        if self.halted.pop(node.id, None) is not None:
            node.hardware.halt(on=False)

    def control(self) -> None:
        for server in self.servers.values():
            server.step()

    def serve(self, node: SimNode) -> None:
        """Servers hear hosts in their own steps."""

    def settle_down(self, rounds: int) -> None:
        self.live(rounds * 2.0)

    def _look(self) -> None:
        """What must never be, as far as it costs nothing to look."""
        if self.fences.broken:
            raise Broken("; ".join(self.fences.broken))
        for server in self.servers.values():
            if server.writer.bugs:
                raise server.writer.bugs[0]
        running = Counter(
            machine
            for node in self.nodes.values()
            for machine, guest in node.hardware.guests.items()
            if guest.awake
        )
        if running and max(running.values()) > 1:
            raise Broken(f"runs twice: {running.most_common(1)}")
        if twice := [id_ for id_, count in self.told_ends.items() if count > 1]:
            raise Broken(f"the end of {twice} was told more than once")

    # --- hosts

    def tend(self, node: SimNode) -> None:
        if not node.powered or node.still:
            return
        agent = node.agent or self._start(node)
        with self.pauses.within(node):
            self._tend(node, agent)

    def _tend(self, node: SimNode, agent: Agent) -> None:
        now = node.clock.monotonic()
        self._keep_line(node, self.clock.monotonic())
        heard = False
        while (told := node.wire.told()) is not None:
            heard = True
            if isinstance(told, Elsewhere):
                self._go(node, told)
            elif (answer := self._received(node, told)) is not None:
                node.wire.say(answer)
        heard = self.shared.move(node.id) or heard
        view = node.witness.view() if node.witness else None
        if heard or now >= agent.due() or view != node.seen:
            node.seen = view
            report = agent.step()
        elif now >= agent.glance_due():
            report = agent.glance()
        else:
            return
        if report is not None and node.wire.open:
            node.wire.say(Report(report=report))

    def _received(self, node: SimNode, told: ToAgent) -> Any:
        if isinstance(told, Welcome):
            self._returning[node.id].welcomed(told.others, told.spread_seconds)
        assert node.agent, "it listens"
        return node.agent.receive(told)

    def _door(self, node: SimNode) -> DirectWriter:
        server = self._server_of(node.wire) if node.wire.open else None
        if server is None or not server.works or not self._linked(node.id, server):
            raise Waiting("no server is reached")
        return server.writer

    def _keep_line(self, node: SimNode, now: float) -> None:
        wire, host = node.wire, node.id
        if wire.open:
            server = self._server_of(wire)
            if server is not None and server.works and self._linked(host, server):
                self._mute_since.pop(host, None)
            elif now - self._mute_since.setdefault(host, now) > PATIENCE:
                self._lost(host, wire)
        if not wire.open and now >= self._come_at.get(host, 0.0):
            self._connect(node, self._returning[host].server(), now)

    def _connect(self, node: SimNode, name: str, now: float) -> None:
        server = self.servers.get(name)
        able = server is not None and server.works and self._linked(node.id, server)
        if server is None or not able or not node.agent:
            self._come_at[node.id] = now + self._returning[node.id].pause()
            return
        wire = node.wire
        wire.drop()
        wire.open, wire.server = True, _key(server)
        wire.say(node.agent.hello())

    def _go(self, node: SimNode, asked: Elsewhere) -> None:
        for name in asked.servers:
            server = self.servers.get(name)
            if server is not None and server.works and self._linked(node.id, server):
                node.wire.drop()
                self._connect(node, name, self.clock.monotonic())
                return
        if asked.leaves:
            self._lost(node.id, node.wire)

    def _lost(self, host: HostId, wire: Wire) -> None:
        """The host's end of a connection is over. What was on its way may still reach a server that stood still."""
        server = self._server_of(wire)
        if server is not None and server.up and wire.known and self.dice.random() < 0.5:
            server.backlog.extend((host, wire.number, frame) for frame in wire.up)
        self._mute_since.pop(host, None)
        wire.drop()
        self._come_at[host] = self.clock.monotonic() + self._returning[host].pause()

    def _server_of(self, wire: Wire) -> SimServer | None:
        name = wire.server.partition("/")[0]
        server = self.servers.get(name)
        return server if server is not None and _key(server) == wire.server else None

    def _linked(self, host: HostId, server: SimServer) -> bool:
        node = self.nodes[host]
        cut = node.wire.cut or host in self.apart or frozenset((host, server.name)) in self.cuts
        return not cut and node.powered

    def _look_after_each_other(self) -> None:
        now = self.clock.monotonic()
        if now < self._peers_at:
            return
        self._peers_at = now + ASK_SECONDS
        for host, node in self.nodes.items():
            if not node.works or node.witness is None:
                continue
            for peer in node.witness.peers():
                if self._answers(peer.host) and host not in self.apart:
                    node.witness.reached(peer.host)
                else:
                    node.witness.failed(peer.host)

    def _answers(self, host: HostId) -> bool:
        """Its kernel does for an agent that is not there; a frozen one says nothing."""
        node = self.nodes.get(host)
        return bool(node and node.powered and not node.still and host not in self.apart)

    def _lease_asked(self, by: HostId, storage: HostId) -> None:
        witness = self.nodes[storage].witness
        if witness is not None:
            witness.asked(by)

    def pull_cables(self, host: HostId) -> None:
        """Nobody reaches it, and it reaches nobody."""
        self.apart.add(host)
        if host in self.shared.runners:
            self.shared.runners[host].cut = True

    def power_on(self, node: SimNode) -> str:
        """By whoever may: an operator asks for it where it is kept off, else its button is pressed."""
        if not node.powered and node.id in self.ground.hosts and self.room.bmcs:
            ask = PowerIn(power="on")
            self.ask(self.ground.operator, lambda call: host_power.switch(call, node.id, ask))
            return f"{node.id} is to have power again"
        node.powered = True
        return f"{node.id} has power again"

    def _inventory(self, node: SimNode) -> Inventory:
        hardware, share = node.hardware, self.ground.storage.get(node.id)
        return Inventory(
            cpus=hardware.cpus,
            cpu_mhz=hardware.cpu_mhz,
            memory_mib=hardware.memory_mib,
            disk_mib=self.room.host_disk_mib,
            hypervisor="sim",
            roles=("storage",) if share else self._roles(node.id),
            shares=share[1] if share else "",
            shares_by=FILE if share and self.room.files else "",
            mounts=self.ground.mounts.get(node.id, ()),
            moves="sim" if node.id in self.shared.runners and self.ground.storage else "",
            peer_address=self.ground.peers[node.id],
            tunnel_address=self.ground.tunnel_address(node.id),
            vm_routers=self.ground.vm_router_mib(node.id) > 0,
            vm_router_mib=self.ground.vm_router_mib(node.id),
        )

    def _roles(self, host: HostId) -> tuple[str, ...]:
        sleeps = self.room.idle and host not in self._routers
        return ("compute",) if sleeps else ("compute", "routing")

    # --- what goes wrong, and right again

    def restore(self, copy: sqlite3.Connection) -> None:
        self.fences.forget()
        self.told_ends.clear()  # some may end once more
        super().restore(copy)

    def restart_server(self) -> None:
        for name in self.names:
            self.start_server(name)

    def heal(self) -> None:
        super().heal_hosts()
        self.pauses.disarm()
        for host in list(self.halted):
            self.halted[host] = 0.0
        self._go_on()
        self.cuts.clear()
        self.apart.clear()
        self.away, self.lazy = False, 0.0
        self.shared.rails.cut, self.shared.rails.seconds = lambda _source, _target: False, 3.0
        for name, server in list(self.servers.items()):
            server.frozen_until = server.slow_until = 0.0
            server.writer.fails = lambda _where: False
            if not server.up:
                self.start_server(name)
        with self.database.write() as tx:  # whoever was to leave stays
            tx.exec_driver_sql("update segment set state = 'ready' where state = 'draining'")
            tx.exec_driver_sql("update host set maintenance = false, generation = generation + 1")

    def powerless(self) -> list[SimNode]:
        """Hosts that are still without power, after everything was tried to give it to them."""
        resting = self.resting()
        off = [n for n in self.nodes.values() if not n.powered and n.id not in resting]
        for node in off:
            with suppress(CloudError):
                self.power_on(node)
        return [node for node in off if not node.powered]


def _clock(true: Clock, dice: Random, drift: float) -> SkewedClock:
    offset = timedelta(seconds=dice.uniform(-APART_SECONDS, APART_SECONDS))
    return SkewedClock(true, offset, dice.uniform(1.0 - drift, 1.0 + drift))


def _key(server: SimServer) -> str:
    return f"{server.name}/{server.life}"


def _answer(done: Any) -> Any:
    if not done.done():
        raise Unavailable("no answer in time")
    return done.result()
