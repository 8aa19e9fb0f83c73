"""A story by dice: customers ask, everybody moves, things break; what must always be true is checked after every step.

`World(seed).run(steps)` first breaks and checks safety, then heals and demands progress: every wish comes true, every
operation ends and was told to have ended once, every farm is held, every host is up, and nothing is left over. Some
stories end with all management servers away for ten minutes, in which nothing may change. The seed is the bug report.
"""

import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arable.domain.access import Caller
from arable.domain.errors import CloudError
from arable.domain.settings import (
    APPLIANCE_IDLE_SECONDS,
    BALANCE,
    BALANCE_PERCENT,
    BALANCE_REST_SECONDS,
    EXPUNGE_SECONDS,
    IDLE_HOST_SECONDS,
    REPLICATE_SECONDS,
)
from arable.runtime.entropy import Entropy, Random
from arable.sim import invariants
from arable.sim.asks import ASKS, REPLICATED_ASKS, SHARING, Ask
from arable.sim.farm_asks import FARMS, give_up
from arable.sim.ground import Room
from arable.sim.happenings import HAPPENINGS, Happening
from arable.sim.in_memory import in_memory
from arable.sim.memories import Memories
from arable.sim.region import Region
from arable.sim.replica_happenings import REPLICA_HAPPENINGS
from arable.store import settings
from arable.store.database import Database

ROOMS = (
    Room(),
    Room(host_memory_mib=512),  # four hosts of two machines each: hosts are the limit
    Room(limits=5),  # accounts are
    Room(pods=1, hosts=1),
    Room(pods=1, hosts=2, servers=2),
    Room(pods=1, hosts=3, servers=3),
    Room(servers=4, hosts=1),
    Room(pods=1, hosts=3, host_memory_mib=512, bmcs=True, idle=True),
    Room(vnis=True),
)
SHARED_ROOMS = (
    Room(pods=1, hosts=3, storage=1, bmcs=True),
    Room(pods=2, hosts=2, storage=1, servers=2),
    Room(pods=1, hosts=2, storage=2, host_memory_mib=1024, bmcs=True),
    Room(pods=1, hosts=3, storage=1, host_memory_mib=8192),  # room to move
    Room(pods=1, hosts=3, storage=1, host_disk_mib=6000),  # its pool is soon full
    Room(pods=2, hosts=2, storage=1, bmcs=True, vnis=True),
    Room(pods=1, hosts=3, storage=1, servers=3, bmcs=True),
)
FARMS_HELD_SECONDS = 90.0
"""From a healed cluster until each farm has a holder that works: a lost member, an election, and the timers' grain."""
REST_SECONDS = 900.0
GIVES_UP_SECONDS = 120.0
"""After so long, farms that there is no room for are deleted by whoever wanted them."""
QUIET_SECONDS = 40.0
"""For so long all must stay as it should be."""
AWAY_SECONDS = 600.0

_SOON = {
    EXPUNGE_SECONDS: 60,
    APPLIANCE_IDLE_SECONDS: 30,
    BALANCE_PERCENT: 10,
    BALANCE_REST_SECONDS: 60,
    IDLE_HOST_SECONDS: 60,
    REPLICATE_SECONDS: 10,
}

_FREE: list[Database] = []
"""For the next world of this process: statements stay compiled, which is a third of what a world costs."""

_ASK, _HAPPEN = 0.25, 0.12  # in each step


@dataclass(frozen=True, slots=True)
class Shape:
    """What a story is about: where it is told, what may happen there, and how it ends."""

    room: Room
    happenings: tuple[Happening, ...]
    asks: tuple[tuple[str, Ask], ...] = ASKS
    lazy: float = 0.0  # how busy processors are
    farms: bool = False  # whether customers lay out farms
    restarts: bool = True  # whether a platform restarts servers for the master
    away: bool = False  # whether all servers are away for a while, in the end

    @classmethod
    def drawn(cls, dice: Random) -> "Shape":
        """Any."""
        shared = dice.random() < 0.4
        room = dice.choice(SHARED_ROOMS if shared else ROOMS)
        kinds = sorted({each.kind for each in HAPPENINGS})
        chosen = set(kinds) if dice.random() < 0.2 else {k for k in kinds if dice.random() < 0.5}
        chosen |= {"carries"} if dice.random() < 0.8 else set()
        return (
            cls(
                room,
                tuple(each for each in HAPPENINGS if each.kind in chosen and each.fits(room)),
                (*ASKS, *SHARING, *SHARING, *SHARING) if shared else ASKS,
                lazy=dice.choice((0.0, 0.0, 0.2, 0.6)),
                away=dice.random() < 0.15,
                restarts=dice.random() < 0.5,
            )
            .drawn_with_farms(dice)
            .with_replicas()
            .drawn_with_files(dice)
        )

    def with_replicas(self) -> "Shape":
        """Where there are two pools for a volume."""
        if self.room.storage < 2:
            return self
        happenings = (*self.happenings, *REPLICA_HAPPENINGS)
        return replace(self, happenings=happenings, asks=(*self.asks, *REPLICATED_ASKS))

    def drawn_with_files(self, dice: Random) -> "Shape":
        """A third of those with one shared pool in each pod: it is one of files. Drawn after all else."""
        if self.room.storage != 1 or dice.random() >= 1 / 3:
            return self
        return replace(self, room=replace(self.room, files=True))

    def drawn_with_farms(self, dice: Random) -> "Shape":
        """Every fifth story is about farms; drawn last, so that the others stay what their seeds tell."""
        if dice.random() >= 0.2:
            return self
        return replace(self, farms=True, asks=(*self.asks, *FARMS, *FARMS, *FARMS))


class _EndedError(BaseException):
    """The story is over, for it failed while somebody stood still."""


@dataclass(slots=True)
class _Before:
    """What ran, and how often it was started; what customers see."""

    runs: dict[str, tuple[str, int]]
    rows: list[Any] = field(default_factory=list)


class World:
    """One seed."""

    def __init__(self, seed: str, shape: Shape | None = None) -> None:
        self.seed = seed
        self.trace: deque[str] = deque(maxlen=60)
        self.steps = 0
        self.moved = 0  # machines that have gone to other hosts while they ran
        self._last = 0
        self._failure: Exception | None = None
        self._memories = Memories()
        self._folder = TemporaryDirectory(prefix="arable-world-")
        self.shape = shape or Shape.drawn(Entropy(seed).child("shape").random)
        database = _FREE.pop() if _FREE else in_memory()
        self.region = Region.of(seed, Path(self._folder.name), self.shape.room, database)
        self.region.pauses.elapse = self._meanwhile
        self.dice = self.region.entropy.child("schedule").random
        with self.region.database.write() as tx:
            settings.put(tx, {each.name: value for each, value in _SOON.items()})
            if self.shape.away:  # in the end all must stay as and where it is
                settings.put(tx, {BALANCE.name: "off"})

    def run(self, steps: int) -> None:
        """Break, check; heal, demand. Raises `Broken` with the story's end."""
        try:
            self.region.live(3.0)
            self.region.lazy, self.region.restarts = self.shape.lazy, self.shape.restarts
            self._last = steps
            while self.steps < self._last:
                self._step()
            self._heal()
            self._rest()
            self.moved = self._arrived()
            if self.shape.away:
                self._nobody_there()
        except (Exception, _EndedError) as raised:  # noqa: BLE001 - told as `Broken`
            error = self._failure or raised
            story = "\n  ".join(self.trace)
            raise invariants.Broken(
                f"seed {self.seed}, step {self.steps} of {steps}, {self._told()}: {_said(error)}\n  {story}"
            ) from error
        finally:
            self.region.database.close()  # with all that was in it
            _FREE.append(self.region.database)
            self._folder.cleanup()

    def _arrived(self) -> int:
        with self.region.database.read() as tx:
            query = "select count(*) from event where kind = 'machine.moved'"
            return int(tx.exec_driver_sql(query).scalar_one())

    def _told(self) -> str:
        kinds = sorted({each.kind for each in self.shape.happenings})
        room = self.shape.room
        return f"{room.servers} servers, {len(self.region.nodes)} hosts, {' '.join(kinds) or 'no trouble'}"

    # --- break

    def _meanwhile(self, seconds: float) -> None:
        """Somebody stands still in the middle of something, and the story goes on. What fails here is told
        whatever the code that stands still around us does about errors.
        """
        clock = self.region.clock
        end = clock.monotonic() + seconds
        began = self.steps
        try:
            while clock.monotonic() < end and self.steps < self._last:
                self._step()
        except Exception as error:
            self._failure = error
            raise _EndedError from error
        self._tell(f"whoever stood still since step {began} goes on")

    def _step(self) -> None:
        self.steps += 1
        self.region.live(self.dice.uniform(0.0, 3.0))
        chance = self.dice.random()
        with suppress(CloudError):
            if chance < _ASK:
                self._tell(self._ask())
            elif chance < _ASK + _HAPPEN and self.shape.happenings:
                weights = [each.weight for each in self.shape.happenings]
                (chosen,) = self.dice.choices(self.shape.happenings, weights)
                self._tell(chosen.do(self.region, self.dice))
        self._check()

    def _ask(self) -> str:
        caller: Caller = self.dice.choice(self.region.ground.callers)
        asks: Sequence[tuple[str, Ask]] = self.shape.asks
        name, ask = self.dice.choice(asks)
        try:
            about = ask(self.region, caller, self.dice)
        except CloudError as error:
            return f"{caller.name} {name}: {type(error).__name__} {error.public}"
        return f"{caller.name} {name} {about}"

    def _tell(self, told: str) -> None:
        if told:
            self.trace.append(f"{self.region.clock.now():%H:%M:%S} {told}")

    def _check(self) -> None:
        with self.region.database.read() as tx:
            invariants.always(tx, self._hardware())
        if mishaps := [*self.region.shared.mishaps(), *self._memories.look(self._hardware())]:
            raise invariants.Broken("; ".join(mishaps))

    def _hardware(self) -> dict[Any, Any]:
        return {id_: node.hardware for id_, node in self.region.nodes.items()}

    # --- heal

    def _heal(self) -> None:
        self.region.heal()
        self._tell("healed")
        for rounds in range(20):
            # A host that was to be switched off when it came back may be all the same, a moment later.
            if not self.region.powerless() and rounds >= 3:
                return
            self.region.live(10.0, 1.0)
            self._check()
        left = [node.id for node in self.region.powerless()]
        raise invariants.Broken(f"{left} can't have their power back")

    def _rest(self) -> None:
        """Everybody has time until all is as wished, and some more, in which it must stay so."""
        began = self.region.clock.monotonic()
        held = False
        row = 0.0
        while row < QUIET_SECONDS:
            self.region.live(10.0, 1.0)
            self._check()
            now = self.region.clock.monotonic()
            held = held or not self._unheld()
            if not held and now - began > FARMS_HELD_SECONDS:
                raise invariants.Broken("; ".join(self._unheld()))
            unrest = self._unrest()
            if unrest and self.shape.farms and now - began > GIVES_UP_SECONDS:
                self._tell(give_up(self.region))
            row = 0.0 if unrest else row + 10.0
            if unrest and now - began > REST_SECONDS:
                raise invariants.Broken(unrest)

    def _unheld(self) -> list[str]:
        with self.region.database.read() as tx:
            return [told for told in invariants.held(tx) if "fails" not in told]

    def _unrest(self) -> str:
        return unrest(self.region)

    # --- static stability

    def _nobody_there(self) -> None:
        """All management servers are away, and come back: no guest stops, and nothing that customers see has changed."""
        region = self.region
        before = self._as_it_is()
        for server in region.servers.values():
            region.kill_server(server)
        self._tell("all management servers are away")
        region.live(AWAY_SECONDS, 2.0)
        self._demand_same(before, "while all management servers were away")
        region.heal()
        self._tell("they are back")
        self._rest()
        self._demand_same(before, "after all management servers were away")

    def _as_it_is(self) -> _Before:
        with self.region.database.read() as tx:
            query = """
                select id, state, wish, host, boots from machine
                where wish in ('running', 'stopped') order by id
            """
            rows = [tuple(row) for row in tx.exec_driver_sql(query)]
        runs = {
            str(machine): (str(host), guest.starts)
            for host, node in self.region.nodes.items()
            for machine, guest in node.hardware.guests.items()
            if guest.awake
        }
        return _Before(runs, rows)

    def _demand_same(self, before: _Before, when: str) -> None:
        now = self._as_it_is()
        if now.runs != before.runs:
            raise invariants.Broken(f"{when}: {before.runs} became {now.runs}")
        if now.rows != before.rows:
            raise invariants.Broken(f"{when}: {before.rows} became {now.rows}")


def unrest(region: Region) -> str:
    """What is not as it should be in the end; empty when all is."""
    hardware = {id_: node.hardware for id_, node in region.nodes.items()}
    try:
        with region.database.read() as tx:
            invariants.at_rest(tx, hardware)
            others = [
                *invariants.held(tx),
                *invariants.hosts_are_well(tx),
                *invariants.rights(tx),
                *invariants.seeds(tx, hardware),
                *invariants.untold(tx, region.told_ends, region.unheard_ends),
            ]
    except invariants.Broken as broken:
        return str(broken)
    return "; ".join(others)


def _said(error: BaseException) -> str:
    """With where it came from, when nobody meant to raise it."""
    if isinstance(error, invariants.Broken):
        return str(error)
    return "".join(traceback.format_exception(error)[-6:])
