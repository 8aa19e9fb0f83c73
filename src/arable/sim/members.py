"""Management servers under the dice: clocks that disagree, pauses, crashes, cut links, a store that is slow or away.

The members are the real ones (`controllers/segment.py`, `master.py`, `farm_managers.py`) on the real statements over SQLite,
whose transactions are serial as the model wants them; only the network, the clocks and the scheduler are made up
(`sim/fibres.py`). Wherever a member waits for a transaction or an answer the others may move, so a process that is
stopped between any two of its steps is nothing but a long wait. What must always be true is checked with every write
that is accepted; then everything is healed, and progress is demanded within a bound.

`python -m arable.sim.run_members --seeds 10000` plays many, `--seed n` replays one.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from sqlalchemy import Integer, insert, select

from arable.cluster.election import calm
from arable.cluster.members import quorum
from arable.cluster.times import Times
from arable.controllers.master import Master, all_in_turn
from arable.controllers.segment import SegmentManager
from arable.domain.errors import CloudError, Conflict, Unavailable
from arable.domain.ids import FarmId, SegmentId
from arable.domain.segment import Cause, Load, Segment, SegmentState
from arable.drivers.platform.sim import SimPlatform
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy, Random
from arable.sim.clocks import SkewedClock
from arable.sim.farm_work import FarmWork
from arable.sim.fibres import Fibre, Fibres
from arable.sim.in_memory import in_memory
from arable.sim.invariants import Broken
from arable.store import elections, holdings, leases, schema, segments, troubles
from arable.store.database import Tx
from arable.wire.cluster import Pong

TIMES = Times()
ACTS_WITHIN = 8.0
"""Seconds from a healed network to a write of a master: the lease, the grace, and the timers' grain."""
FALLS_WITHIN = 8.0
"""Until a master that nobody reaches is replaced, if it is not left in office for longer on purpose."""
SETTLED_WITHIN = 30.0
"""Until all farms are held by live members that know it."""
SERVED_WITHIN = 90.0
"""Until all farms are worked for, those that were broken among them, which are tried less and less often."""
_SLOWEST = 3.0  # seconds that a message takes at worst
_TABLES = ("domain", "account", "zone", "storage_zone", "farm", "farm_trouble", "machine", "lease", "segment", "suspicion", "election", "event", "setting")  # fmt: skip


@dataclass
class Server:
    """A place where processes of one management server live, one after the other."""

    name: SegmentId
    clock: SkewedClock
    life: int = 0
    up: bool = False
    manager: SegmentManager | None = None
    fibres: dict[str, Fibre] = field(default_factory=dict)
    idle: set[str] = field(default_factory=set)  # threads that wait for their timer
    frozen_until: float = 0.0
    farms: list[tuple[FarmId, int]] = field(default_factory=list)  # it knew of, with its right then

    @property
    def process(self) -> str:
        """What is killed and frozen together."""
        return f"{self.name}/{self.life}"


class Members:
    """One seed."""

    def __init__(self, seed: str, count: int | None = None) -> None:
        self.seed = seed
        self.dice = Entropy(seed).random
        self.clock = VirtualClock()
        self.fibres = Fibres(self.clock)
        self.trace: deque[str] = deque(maxlen=80)
        self.database = in_memory()
        self.calm = False  # no faults but those that a phase makes
        self.cut: set[tuple[str, str]] = set()  # from, to; the store is "store"
        self.away = False
        self.database_ahead = timedelta(0)
        self.set_back = 0.0  # by how much in all: what is old looks as much fresher
        self.accepted: list[tuple[int, str]] = []
        self.refused = 0
        self.master_of: dict[int, tuple[str, int]] = {}  # who acts with an epoch, in which life
        self.farm_acts: dict[tuple[str, int], str] = {}
        self.missed_at: dict[tuple[str, str], float] = {}  # from, to: when a ping failed last
        self.work = FarmWork(Entropy(f"{seed}/farms").random, self.clock.monotonic)
        self.platform = SimPlatform(lambda place: self._restart(self.servers[place.segment]))
        count = count or self.dice.choice((1, 2, 2, 3, 3, 3, 4, 5))
        names = [SegmentId(f"server-{letter}") for letter in "abcde"[:count]]
        self.servers = {name: self._server(name) for name in names}
        self._lay_out(self.dice.randint(1, 8))

    # --- the story

    def run(self, seconds: float) -> None:
        """Break and check; heal and demand; then single faults that must not matter, or must."""
        try:
            for server in self.servers.values():
                self._restart(server)
            self._break(seconds)
            self._heal()
            self._one_link()
            self._no_master_in_sight()
        except Exception as error:
            story = "\n  ".join(self.trace)
            raise Broken(f"seed {self.seed}: {error!r}\n  {story}") from error
        finally:
            self.fibres.close()
            self.database.close()

    def _break(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.fibres.run(self.dice.expovariate(1.0))
            self._fault()
            if self.work.dice.random() < 0.4:
                self.tell(self._farm_fault())

    def _heal(self) -> None:
        self.calm, self.away = True, False
        self.cut.clear()
        thaw = max(server.frozen_until for server in self.servers.values())
        self.fibres.run(max(0.0, thaw - self.clock.monotonic()))
        for server in self.servers.values():
            if not server.up:
                self._restart(server)
        self.tell("healed")
        writes = len(self.accepted)
        self._until(lambda: len(self.accepted) > writes, ACTS_WITHIN, "no master acts")
        self._until(self._settled, SETTLED_WITHIN, "farms are not held")
        self._until_served()
        self.fibres.run(3.0)  # frozen ones came back with old news
        epoch = self._row_epoch()
        self.fibres.run(4.0)
        self._demand(self._row_epoch() == epoch, "the master of a healed cluster changed")

    def _until_served(self) -> None:
        """All that are well at once, whatever is broken; those that are mended after a while."""
        healed, well = self.clock.monotonic(), set(self._farms()) - self.work.broken
        self._until(
            lambda: all(self.work.done.get(each, -1.0) > healed for each in well - self._failing()),
            SETTLED_WITHIN,
            "broken farms keep others waiting",
        )
        self.work.broken.clear()
        mended = self.clock.monotonic()

        def served() -> bool:
            with self.database.read() as tx:
                return self.work.all_since(tx, mended)

        self._until(served, SERVED_WITHIN, "farms are not served")

    def _one_link(self) -> None:
        """A broken link between two members, in one direction or both, throws nobody over."""
        others = [name for name in self.servers if name != self._master()]
        if not others:
            return
        master, other = self._master(), self.dice.choice(others)
        ways = [(master, other), (other, master)]
        self.cut.update(ways if self.dice.random() < 0.5 else [self.dice.choice(ways)])
        self.tell(f"one link fails: {sorted(self.cut)}")
        before = self._row_epoch()
        self.fibres.run(7.0)
        self._demand(self._row_epoch() == before, "one failed link threw the master over")
        self.cut.clear()
        self.fibres.run(2.0)

    def _no_master_in_sight(self) -> None:
        """A master that nobody can reach is replaced by a majority, and what it still decides is refused."""
        if len(self.servers) < 3:
            return
        master, before = self._master(), self._row_epoch()
        self.cut.update((name, master) for name in self.servers if name != master)
        self.tell(f"nobody reaches {master}")
        bound = FALLS_WITHIN + self._left_in_office()
        self._until(lambda: self._row_epoch() > before, bound, "the majority elected nobody")
        writes = len(self.accepted)
        self._until(lambda: len(self.accepted) > writes, ACTS_WITHIN, "the new master does not act")
        self._demand(self._master() != master, "the one that nobody reaches was elected again")

    def _left_in_office(self) -> float:
        """For how many seconds a master that renews is left there because so many were thrown over lately."""
        now = self._database_now()
        with self.database.read() as tx:
            recent = elections.thrown_over(tx, now - timedelta(seconds=TIMES.calm))
            until = elections.mastership(tx).since + calm(recent, TIMES)
        return max(0.0, (until - now).total_seconds())

    # --- what happens

    def _fault(self) -> None:
        server = self.dice.choice(list(self.servers.values()))
        other = self.dice.choice(["store", *self.servers])
        match self.dice.randrange(11):
            case 0 | 1:
                self._kill(server) if server.up else self._restart(server)
            case 2 | 3:
                way = (server.name, other) if self._chance(0.5) else (other, server.name)
                self.cut ^= {way}
                self.tell(f"{way[0]} {'does not reach' if way in self.cut else 'reaches'} {way[1]}")
            case 4 | 5:
                self._freeze(server)
            case 6:
                self.cut.clear()
                self.tell("all links are well")
            case 7 if self.away or self._chance(0.3):
                self.away = not self.away
                self.tell(f"the store is {'away' if self.away else 'there'}")
            case 8:
                server.clock.offset = timedelta(seconds=self.dice.uniform(-3600, 3600))
                self.tell(f"{server.name}'s clock is set")
            case 9 if self._chance(0.3):
                jump = self.dice.uniform(-5, 5)
                self.database_ahead += timedelta(seconds=jump)
                self.set_back += max(0.0, -jump)
                self.tell("the database's clock is set")
            case 10:
                for each in self.servers.values():
                    if not each.up:
                        self._restart(each)
            case _:
                pass

    def _freeze(self, server: Server) -> None:
        """The whole process stands still, wherever in its steps it is, for longer than any timeout or shorter."""
        seconds = self.dice.choice((0.5, 2.0, 5.0, 12.0))
        server.frozen_until = max(server.frozen_until, self.clock.monotonic() + seconds)
        self.fibres.freeze(server.process, seconds)
        self.tell(f"{server.name} is frozen for {seconds} s")

    def _kill(self, server: Server) -> None:
        self.fibres.kill(server.process)
        server.up, server.manager = False, None
        self.tell(f"{server.name} is killed")

    def _restart(self, server: Server) -> None:
        """A process ends, however it is, and another one begins."""
        if server.up:
            self._kill(server)
        server.life, server.up, server.frozen_until = server.life + 1, True, 0.0
        self.tell(f"{server.name} starts")
        manager, life = self._manager(server), server.life
        server.manager = manager

        def beating() -> None:
            while True:
                manager.beat()
                self._rest(server, "beat", manager._beat_due)  # noqa: SLF001 - its threads' timers

        def looking() -> None:
            while True:
                manager.look()
                if manager._wake.is_set() and "beat" in server.idle:  # noqa: SLF001
                    self.fibres.wake(server.fibres["beat"])
                manager._wake.clear()  # noqa: SLF001
                self._rest(server, "look", manager._look_due)  # noqa: SLF001

        def acting() -> None:
            while True:
                self._act(server, manager, life)
                self.fibres.wait(self.dice.uniform(0.4, 1.6))

        def farming() -> None:
            managers = self.work.managers(
                server.name,
                lambda work: self._transact(server, work, self.work.dice),
                server.clock,
                manager.serving,
            )
            while True:
                for end in managers.begin(()):
                    end()
                self.fibres.wait(0.5)

        server.idle, server.farms = set(), []
        bodies = {"beat": beating, "look": looking, "act": acting, "farms": farming}
        for name, body in bodies.items():
            server.fibres[name] = self.fibres.start(server.process, body)

    def _rest(self, server: Server, name: str, due: float) -> None:
        idle = server.idle
        idle.add(name)
        self.fibres.wait(max(0.001, due - server.clock.monotonic()))
        idle.discard(name)

    def _manager(self, server: Server) -> SegmentManager:
        def transact(work: Callable[[Tx], Any]) -> Any:
            return self._transact(server, work)

        def ping(address: str) -> Pong | None:
            return self._ping(server, address)

        def shared_now(_tx: Tx) -> datetime:
            return self._database_now()

        master = Master(
            server.name,
            transact,
            all_in_turn(ping),
            self.platform,
            server.clock,
            TIMES,
            shared_now=shared_now,
        )
        about = Segment(
            id=server.name,
            seq=0,
            epoch=0,
            address=server.name,
            state=SegmentState.READY,
            heartbeat_at=self.clock.now(),
        )
        return SegmentManager(
            about, transact, server.clock, ping, TIMES, Load, master.step, shared_now=shared_now
        )

    # --- what they write

    def _act(self, server: Server, manager: SegmentManager, life: int) -> None:
        """What a master writes, and what the holder of a farm writes: decided first, written after a while."""
        epoch = manager.acting()
        try:
            if epoch:
                self._transact(server, lambda tx: self._masters_write(tx, server, life, epoch))
                return
            if not server.farms or self._chance(0.3):  # else it goes by what it read before
                mine = manager._epoch  # noqa: SLF001 - its right to act
                held = self._transact(server, lambda tx: _held(tx, server.name))
                server.farms = [(farm, mine) for farm in held]
            if server.farms:
                write = partial(self._farms_write, server, *self.dice.choice(server.farms))
                self._transact(server, write)
        except Conflict:
            self.refused += 1
        except CloudError:
            return

    def _masters_write(self, tx: Tx, server: Server, life: int, epoch: int) -> None:
        leases.demand(tx, server.name, epoch)
        row = elections.mastership(tx)
        self._demand(row.epoch == epoch, f"epoch {epoch} wrote while it was {row.epoch}")
        last = self.accepted[-1][0] if self.accepted else 0
        self._demand(epoch >= last, f"epoch {epoch} wrote after {last}")
        owner = self.master_of.setdefault(epoch, (server.name, life))
        self._demand(owner == (server.name, life), f"epoch {epoch} is {owner}'s, not {server.name}'s")  # fmt: skip
        self.accepted.append((epoch, server.name))

    def _farms_write(self, server: Server, farm: FarmId, mine: int, tx: Tx) -> None:
        segments.demand(tx, server.name, mine)
        if not holdings.hold(tx, server.name, [farm]):
            raise Conflict(f"{farm} is not held any more")
        (member,) = (each for each in segments.members(tx) if each.id == server.name)
        held = _held(tx, server.name)
        told = f"{server.name} wrote {farm} with epochs {mine} and {held.get(farm)}"
        self._demand(member.epoch == mine, f"{told}, but may not act")
        self._demand(farm in held, f"{told}, but has lost it")
        owner = self.farm_acts.setdefault((farm, held[farm]), server.name)
        self._demand(owner == server.name, f"{told}, and so did {owner}")

    # --- the store and the network

    def _transact(
        self, server: Server, work: Callable[[Tx], Any], dice: Random | None = None
    ) -> Any:
        dice = dice or self.dice
        self.fibres.wait(self._delay(0.02, dice))
        if self.away or (server.name, "store") in self.cut:
            self.fibres.wait(dice.choice((0.01, 0.1, 1.0)))
            raise Unavailable("the store does not answer")
        with self.database.write() as tx:
            before = _row(tx)
            done = work(tx)
            if _row(tx) != before:
                self._look_at_election(tx, before)
        self.fibres.wait(self._delay(0.02, dice))
        if ("store", server.name) in self.cut or (not self.calm and dice.random() < 0.01):
            raise Unavailable("the store's answer was lost")
        return done

    def _look_at_election(self, tx: Tx, before: int) -> None:
        """Epochs grow by one; a master that holds its lease falls only by a majority that really misses it."""
        after = elections.mastership(tx)
        self._demand(after.epoch == before + 1, "epochs grow one by one")
        won, *earlier = elections.history(tx, 2)
        self._demand((won.epoch, won.holder) == (after.epoch, after.holder), "the history is true")
        self.tell(f"{won.holder} is master of {won.epoch}: {won.cause} {list(won.agreed)}")
        if won.cause is not Cause.SUSPECTED:
            return
        former, now = earlier[0].holder, self._database_now()
        fresh = [
            each.id
            for each in segments.members(tx)
            if each.state is SegmentState.READY
            and now - each.heartbeat_at <= timedelta(seconds=TIMES.silent)
        ]
        self._demand(len(won.agreed) >= quorum(len(fresh)), "a minority elected")
        both = len(fresh) == 2 and former in fresh
        self._demand(not both, "one of two threw over one that beats")
        for each in won.agreed:
            since = self.clock.monotonic() - self.missed_at.get((each, former), -99.0)
            told = f"{each} agreed and had found {former} for {since:.1f} s"
            self._demand(since < TIMES.fresh + _SLOWEST + self.set_back, told)

    def _ping(self, server: Server, address: str) -> Pong | None:
        other = self.servers[SegmentId(address)]
        end = self.clock.monotonic() + TIMES.deadline
        pong = self._exchanged(server, other)
        left = end - self.clock.monotonic()
        if pong is None and left > 0 and other.up:
            self.fibres.wait(left)
        if pong is None or not pong.epoch:
            self.missed_at[server.name, address] = self.clock.monotonic()
        return pong

    def _exchanged(self, server: Server, other: Server) -> Pong | None:
        """The answer, if it came within the deadline."""
        begun = self.clock.monotonic()
        self.fibres.wait(self._delay(0.005))
        if (server.name, other.name) in self.cut or self._lost() or other.manager is None:
            return None
        thaw = other.frozen_until - self.clock.monotonic()
        if thaw > TIMES.deadline:
            return None
        if thaw > 0:
            self.fibres.wait(thaw)
            if other.manager is None:
                return None
        pong = other.manager.pong()
        if self._lost():
            pong = other.manager.pong()  # asked twice; the second answer counts
        self.fibres.wait(self._delay(0.005))
        late = self.clock.monotonic() - begun > TIMES.deadline
        return None if late or (other.name, server.name) in self.cut or self._lost() else pong

    def _lost(self) -> bool:
        return not self.calm and self._chance(0.03)

    def _delay(self, usual: float, dice: Random | None = None) -> float:
        """Mostly short; in bad times now and then longer than a deadline."""
        dice = dice or self.dice
        if not self.calm and dice.random() < 0.02:
            return dice.uniform(0.1, _SLOWEST)
        return dice.uniform(0.0, usual)

    # --- within

    def tell(self, text: str) -> None:
        """One line of the story."""
        self.trace.append(f"{self.clock.monotonic():7.2f} {text}")

    @staticmethod
    def _demand(holds: bool, told: str) -> None:
        if not holds:
            raise Broken(told)

    def _chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def _database_now(self) -> datetime:
        return self.clock.now() + self.database_ahead

    def _until(self, true: Callable[[], bool], seconds: float, told: str) -> None:
        end = self.clock.monotonic() + seconds
        while not true():
            self._demand(self.clock.monotonic() < end, f"{told} within {seconds} s")
            self.fibres.run(0.2)

    def _row_epoch(self) -> int:
        with self.database.read() as tx:
            return _row(tx)

    def _master(self) -> SegmentId:
        with self.database.read() as tx:
            return elections.mastership(tx).holder

    def _farm_fault(self) -> str:
        """A farm's work begins to fail, or ceases to; or it is moved, as for balance."""
        farm = self.work.dice.choice(self._farms())
        if self.work.dice.random() < 0.5:
            return self.work.break_or_mend(farm)
        with self.database.write() as tx:
            held = {each.farm: each.holder for each in holdings.every(tx)}
            to = self.work.dice.choice(list(self.servers))
            holdings.give(tx, [(farm, held[farm], to)])
        return f"{farm} goes from {held[farm]} to {to}"

    def _farms(self) -> list[FarmId]:
        with self.database.read() as tx:
            return [each.farm for each in holdings.every(tx)]

    def _failing(self) -> set[FarmId]:
        with self.database.read() as tx:
            return {each.farm for each in troubles.every(tx, 100)}

    def _settled(self) -> bool:
        with self.database.read() as tx:
            return all(
                each.confirmed and each.holder in self.servers for each in holdings.every(tx)
            )

    def _server(self, name: SegmentId) -> Server:
        offset = timedelta(seconds=self.dice.uniform(-3600, 3600))
        return Server(name, SkewedClock(self.clock, offset, self.dice.uniform(0.985, 1.015)))

    def _lay_out(self, farms: int) -> None:
        with self.database.write() as tx:
            raw: Any = tx.connection.driver_connection
        raw.deserialize(_empty())
        at = self.clock.now()
        with self.database.write() as tx:
            for number in range(farms):
                row = {"id": f"farm-{number}", "account": "account-a", "zone": "zone-a"}
                tx.execute(insert(schema.farm).values(**row, name=str(number), created_at=at))


@cache
def _empty() -> bytes:
    """A database with the tables that count here, and an account in a zone."""
    made, at = in_memory(), VirtualClock().now()
    with made.write() as tx:
        for name in _TABLES:
            schema.metadata.tables[name].create(tx)
        tx.execute(insert(schema.domain).values(id="domain-a", path="root", name="root", created_at=at))  # fmt: skip
        tx.execute(insert(schema.account).values(id="account-a", domain="domain-a", name="a", created_at=at))  # fmt: skip
        tx.execute(insert(schema.zone).values(**_zone(at)))
        raw: Any = tx.connection.driver_connection
    data: bytes = raw.serialize()
    made.close()
    return data


def _zone(at: datetime) -> dict[str, Any]:
    """What a zone must have; nothing here reads it."""
    needed = {
        column.name: _some(column, at)
        for column in schema.zone.columns
        if not column.nullable and column.server_default is None
    }
    return needed | {"id": "zone-a"}


def _some(column: Any, at: datetime) -> Any:
    if column.name.endswith("_at"):
        return at
    return 0 if isinstance(column.type, Integer) else "a"


def _held(tx: Tx, holder: SegmentId) -> dict[FarmId, int]:
    """The farms that it knows it holds, with their epochs."""
    farm = schema.farm.c
    query = select(farm.id, farm.epoch).where(farm.holder == holder, farm.confirmed == farm.epoch)
    return {FarmId(id_): epoch for id_, epoch in tx.execute(query.order_by(farm.id))}


def _row(tx: Tx) -> int:
    """The epoch of the mastership."""
    found = tx.exec_driver_sql("select epoch from lease where name = 'master'").scalar()
    return int(found or 0)
