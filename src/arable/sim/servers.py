"""One management server of a simulated region: the real parts of a process, and a gateway and timers that a schedule drives.

What dies with the process is here, and nothing else: its store is a door to what all servers share. A server that is
stopped (`stand_still`) stands between what it has decided to write and the writing, which is where it hurts.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from arable.cluster.times import Times
from arable.controllers.landing import Landing
from arable.controllers.loop import Loop
from arable.controllers.master import Master, all_in_turn
from arable.controllers.registry import farm_controllers, master_controllers
from arable.controllers.segment import SegmentManager
from arable.controllers.settle import settle
from arable.controllers.switching import Switcher
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import HostId, SegmentId
from arable.domain.manifest import HostReport
from arable.domain.platform import Platform
from arable.domain.power import Bmc, PowerSwitch
from arable.domain.segment import Load, Segment, SegmentState
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.shared_clock import SharedClock
from arable.services.call import Surroundings
from arable.services.desk import Desk
from arable.services.endings import Endings
from arable.services.grid_instructions import InstructionHands
from arable.services.hands import FarmHands
from arable.services.image_policies import ImageHands
from arable.services.order_hands import OrderHands
from arable.services.sign_on import KeyHands
from arable.services.spread import Peer, moves
from arable.sim.direct import DirectWriter
from arable.sim.fences import Fences
from arable.sim.standstills import Standstills
from arable.sim.wire import Wire
from arable.store import hosts
from arable.store.database import Database, Tx
from arable.store.ended import Ended
from arable.store.nudges import Nudges, collected
from arable.wire.agent import Elsewhere, Hello, Report, Welcome, from_agent
from arable.wire.cluster import Pong

TIMES = Times().scaled(5)
"""As servers beat whose database is embedded: hours of a world cost less so."""
LOOK_SECONDS, SWITCH_SECONDS = 5.0, 3.0
UNHEARD_SECONDS = 35.0
"""A channel on which nothing was heard for so long is taken for dead."""
_WORDS = 4  # that are heard of one host at a time


class SharedStore(Database):
    """One server's way to the database of all of them, which may be closed to it."""

    def __init__(
        self, shared: Database, name: str, reached: Callable[[], bool], pauses: Standstills
    ) -> None:
        self.url, self.name, self.engine = shared.url, name, shared.engine
        self._reached, self._pauses = reached, pauses

    @contextmanager
    def read(self) -> Iterator[Tx]:
        self._demand()
        with self._pauses.whole(), super().read() as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Tx]:
        self._demand()
        with self._pauses.whole(), super().write() as tx:
            yield tx

    def _demand(self) -> None:
        self._pauses.here()
        if not self._reached():
            raise Unavailable("the database does not answer")


class AtOnce(Executor):
    """Does what it is given before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as a thread's future tells it
            done.set_exception(error)
        return done


class Around(Protocol):
    """What a server finds around it."""

    @property
    def pauses(self) -> Standstills: ...
    def clock_of_server(self, server: str) -> Clock: ...
    def database_time(self) -> datetime: ...
    @property
    def switches(self) -> bool: ...
    def reaches_store(self, server: str) -> bool: ...
    def ping(self, by: str, address: str) -> Pong | None: ...
    def told(self, by: "SimServer", nudges: Nudges) -> None: ...
    def lines(self, server: "SimServer") -> Mapping[HostId, Wire]: ...
    def switch(self, bmc: Bmc) -> PowerSwitch: ...
    def ended(self, by: "SimServer", what: Ended) -> None: ...


@dataclass(slots=True)
class Channel:
    """One host's, at this server: `number` is that of the connection."""

    number: int
    have: int
    heard_at: float
    fresh: bool = True


class SimServer:
    """A process. `name` is kept over restarts, `life` counts them."""

    def __init__(
        self,
        name: str,
        life: int,
        around: Around,
        shared: Database,
        surroundings: Surroundings,
        platform: Platform,
        fences: Fences,
        entropy: Entropy,
    ) -> None:
        self.name, self.life, self.up = name, life, True
        self.stopped = 0
        self.frozen_until = 0.0
        self.slow_until = 0.0
        """While its heartbeats come through, what it commits does not."""
        self._world = around
        self.clock = clock = SharedClock(around.clock_of_server(name))
        self.database = SharedStore(shared, name, lambda: around.reaches_store(name), around.pauses)
        pauses = around.pauses
        self.writer = DirectWriter(self.database, clock=clock, whole=pauses.whole, here=pauses.here)
        me = SegmentId(name)
        ping = partial(around.ping, name)
        master = Master(
            *(me, self._beside, all_in_turn(ping), platform, clock, TIMES),
            shared_now=self._shared_now,
        )
        about = Segment(
            id=me,
            seq=0,
            epoch=0,
            address=name,
            state=SegmentState.READY,
            heartbeat_at=clock.now(),
        )
        self.segment = SegmentManager(
            *(about, self._beside, clock, ping, TIMES, self._load, master.step),
            shared_now=self._shared_now,
            time=clock.heard,
        )
        self.loop = Loop(
            self.writer,
            clock,
            name,
            self.segment.acting,
            fences.of_master(
                name,
                life,
                master_controllers(
                    OrderHands(lambda: self.around),
                    ImageHands(lambda: self.around),
                    KeyHands(lambda: self.around).keep,
                    InstructionHands(lambda: self.around),
                ),
            ),
            serving=self.segment.serving,
            entropy=entropy.child(f"{name}/{life}"),
            farm_controllers=fences.of_farms(
                name, farm_controllers(FarmHands(lambda: self.around))
            ),
        )
        self.segment.elected = self.loop.wake
        self.segment.held = partial(self.loop.wake, held=True)
        ids = Ids(clock, entropy.child(f"ids/{name}/{life}"))
        self.around = replace(surroundings, clock=clock, ids=ids, land=Landing(self.loop.holds))
        self.desk = Desk(self.database, self.writer, self.around, name, settle)
        self.switcher = Switcher(
            self.database, self.writer, clock, around.switch, self.loop.acts, AtOnce()
        )
        self.endings = Endings(self.database, name, partial(around.ended, self), listening=True)
        self.writer.committed = self._committed
        self.channels: dict[HostId, Channel] = {}
        self.backlog: deque[tuple[HostId, int, bytes]] = deque()  # heard on lines that have ended
        self._reports: deque[tuple[HostId, int, HostReport]] = deque()
        self._behind: set[HostId] = set()
        self._left: set[HostId] = set()
        self._peers: Sequence[Peer] = ()
        self._ends: list[Callable[[], None]] = []
        self.also: Callable[[Iterable[str]], None] = lambda _topics: None
        """Who else in its process hears of what changed."""
        self._look_at = self._switch_at = clock.monotonic()
        with suppress(CloudError):
            self.writer.submit(lambda tx: hosts.begun(tx, name)).result()

    @property
    def works(self) -> bool:
        """Whether it does anything: it is there and not frozen."""
        return self.up and not self.stopped and self.clock.monotonic() >= self.frozen_until

    @property
    def there(self) -> bool:
        """Whether it is, whatever it does."""
        return self.up

    # --- its threads

    def step(self) -> None:
        """Everything that is due."""
        if self.works:
            with self._world.pauses.within(self):
                self._begin()
                if self.clock.monotonic() >= self.slow_until:
                    self._finish()

    def stand_still(self, seconds: float) -> None:
        """It is frozen with all that it is about to write, and goes on with just that."""
        if self.works:
            with self._world.pauses.within(self):
                self._begin()
        self.frozen_until = max(self.frozen_until, self.clock.monotonic() + seconds)

    def die(self, *, after_commit: bool = False) -> None:
        """It is killed. What it was about to write is lost, or just happened."""
        self.writer.die(after_commit=after_commit and self.works)
        self.up = False

    def leave(self) -> None:
        """It ends as it should."""
        with self._world.pauses.whole():
            self._finish()
            self.segment.stop()
            self.die()

    def nudged(self, nudges: Nudges) -> None:
        """Somebody has committed that."""
        self.loop.nudge(nudges.topics)
        self.also(nudges.topics)
        self._behind |= {HostId(host) for host in nudges.hosts}

    def _begin(self) -> None:
        if self._ends or self.writer.held:  # it stood still, and goes on from there
            if self.clock.monotonic() < self.slow_until:
                self.segment.step()
            return
        self.segment.step()
        self.writer.held = True
        self._hear()
        self._ends = self.loop.begin()

    def _finish(self) -> None:
        self.writer.release()
        ends, self._ends = self._ends, []
        for end in ends:
            end()
        self._push()
        now = self.clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look_around()
        if now >= self._switch_at and self._world.switches:
            self._switch_at = now + SWITCH_SECONDS
            with suppress(CloudError):
                self.switcher.step()
        self.endings.step()

    def _beside(self, work: Callable[[Tx], Any]) -> Any:
        with self.database.write() as tx:
            done = work(tx)
            nudges = collected(tx)
        self._committed(nudges)
        return done

    def _committed(self, nudges: Nudges) -> None:
        if nudges.topics or nudges.hosts:
            self.nudged(nudges)
            self._tell(nudges)
            self._world.told(self, nudges)
        self.endings.nudged(nudges.ended)

    def _shared_now(self, _tx: Tx) -> datetime:
        return self._world.database_time()

    def _load(self) -> Load:
        return Load(lag_ms=round(self.loop.lag() * 1000), pending=self.writer.waiting)

    # --- its gateway

    def _hear(self) -> None:
        lines = self._world.lines(self)
        while self.backlog:
            host, number, frame = self.backlog.popleft()
            said = from_agent(frame)
            if isinstance(said, Report) and self._ready(host, number):
                self._reports.append((host, number, said.report))
        now = self.clock.monotonic()
        for host, wire in lines.items():
            if wire.known and wire.up and not self._ready(host, wire.number):
                wire.drop()  # given up here while nothing came through: now its host hears of that
            for _ in range(_WORDS):
                if not wire.up:
                    break
                word = wire.heard()
                if isinstance(word, Hello):
                    self._greet(host, wire, word)
                    break
                if isinstance(word, Report) and self._ready(host, wire.number):
                    self.channels[host].heard_at = now
                    self._reports.append((host, wire.number, word.report))
        self._keep()

    def _ready(self, host: HostId, number: int) -> bool:
        channel = self.channels.get(host)
        return channel is not None and channel.number == number

    def _greet(self, host: HostId, wire: Wire, hello: Hello) -> None:
        number = wire.number
        self.channels.pop(host, None)

        def welcome(kept: "Future[None]") -> None:
            there = wire.number == number
            if kept.exception() is not None:
                if there:
                    wire.drop()
                return
            if not there:
                self._left.add(host)
                return
            self.channels[host] = Channel(number, hello.have, self.clock.monotonic())
            wire.known = True
            others = tuple(each.address for each in self._peers)
            wire.tell(Welcome(server=self.name, others=others))
            self._behind.add(host)

        self._left.discard(host)
        self.desk.greet(host, hello).add_done_callback(welcome)

    def _keep(self) -> None:
        """All reports in one go; again, when the store does not answer."""
        batch = [each for each in self._reports if self._ready(*each[:2])]
        self._reports.clear()
        if not batch:
            return

        def kept(done: "Future[None]") -> None:
            error = done.exception()
            if isinstance(error, Unavailable):
                self._reports.extendleft(reversed(batch))
            elif error is not None:
                for host, number, _ in batch:
                    self._hang_up(host, number)

        alive = sorted({host for host, _, _ in batch})
        self.desk.report([report for *_, report in batch], alive).add_done_callback(kept)

    def _hang_up(self, host: HostId, number: int) -> None:
        """They must say everything anew."""
        if self._ready(host, number):
            del self.channels[host]
            self._left.add(host)
        wire = self._world.lines(self).get(host)
        if wire is not None and wire.number == number:
            wire.drop()

    def _tell(self, nudges: Nudges) -> None:
        """What was just written, to those that hold what came before it."""
        lines = self._world.lines(self)
        for each in self.desk.news(nudges):
            line = lines.get(each.host)
            if line is None or not self._ready(each.host, line.number):
                continue
            channel = self.channels[each.host]
            if not channel.fresh and channel.have == each.base:
                frame = each.frame()
                line.down.append(frame.data)
                channel.have = frame.generation

    def _push(self) -> None:
        lines = self._world.lines(self)
        have = {
            host: self.channels[host].have
            for host in self._behind
            if host in lines and self._ready(host, lines[host].number)
        }
        if not have:
            self._behind.clear()
            return
        try:
            frames = self.desk.frames(have)
        except CloudError:
            return
        self._behind.clear()
        for host in have:
            frame, channel = frames.get(host), self.channels[host]
            if frame is None:
                self._hang_up(host, channel.number)
            elif frame.data and (channel.fresh or frame.generation != channel.have):
                lines[host].down.append(frame.data)
                channel.have, channel.fresh = frame.generation, False

    def _look_around(self) -> None:
        """What the store knows of its channels, and they of themselves; now and then agents are asked to go elsewhere."""
        lines, now = self._world.lines(self), self.clock.monotonic()
        for host, channel in list(self.channels.items()):
            wire = lines.get(host)
            ended = wire is None or wire.number != channel.number
            if ended or now - channel.heard_at > UNHEARD_SECONDS:
                self._hang_up(host, channel.number)
        try:
            found = self.desk.look(self.channels.keys())
            for host, channel in list(self.channels.items()):
                if host not in found or found[host].server != self.name:
                    self._hang_up(host, channel.number)
                elif found[host].generation != channel.have:
                    self._behind.add(host)
            self._peers = self.desk.peers()
            for host in sorted(self._left - self.channels.keys()):
                self.desk.left(host).result()
        except CloudError:
            return
        self._left.clear()
        leaving = self.segment.draining
        wanted = moves(
            len(self.channels), {p.address: p.agents for p in self._peers}, leaving=leaving
        )
        targets = [address for address, count in wanted.items() for _ in range(count)]
        for host, address in zip(sorted(self.channels), targets, strict=False):
            if host in lines:
                lines[host].tell(Elsewhere(servers=(address,), leaves=leaving))
