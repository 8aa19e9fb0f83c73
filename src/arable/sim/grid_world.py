"""A grid by dice: whole regions and their grid manager on one virtual clock, between which everything may go wrong.

`GridWorld(seed).run(steps)` is to a grid what `World` is to one region: it breaks and looks after every step, heals, and
demands that all comes to rest as everybody wished and said. The seed is the bug report.
"""

import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arable.domain.errors import CloudError
from arable.domain.ids import FarmId
from arable.domain.settings import (
    APPLIANCE_IDLE_SECONDS,
    EXPUNGE_SECONDS,
    GRID_BILL_SECONDS,
    GRID_MAY_CHANGE_ACCOUNTS,
    GRID_SNAPSHOT_SECONDS,
    IMAGE_EVICT_SECONDS,
    IMAGE_FETCH_SECONDS,
)
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy, Random
from arable.services import farms, regions
from arable.sim import grid_asks, invariants
from arable.sim.farm_asks import give_up
from arable.sim.grid_asks import ASKS, Ask, Asking
from arable.sim.grid_happenings import HAPPENINGS, KINDS, Happening
from arable.sim.grid_invariants import Watch, at_rest
from arable.sim.grid_manager import SimManager
from arable.sim.grid_region import Grid, GridRegion
from arable.sim.grid_wan import Wan
from arable.sim.ground import IMAGE, Room
from arable.sim.in_memory import in_memory
from arable.sim.memories import Memories
from arable.sim.world import unrest
from arable.store import settings
from arable.store.database import Database

NAMES = ("san-jose", "new-york", "london")
ROOMS = (
    Room(pods=1, hosts=1, host_memory_mib=4096),
    Room(pods=1, hosts=2, host_memory_mib=2048),
    Room(pods=1, hosts=1, host_memory_mib=4096, servers=2),
)
GRAIN = 3.0  # seconds between two moves of anybody
REST_SECONDS = 1800.0
GIVES_UP_SECONDS = 600.0
"""After so long, farms for which there is no room are removed by whoever wanted them."""
QUIET_SECONDS = 60.0
AWAY_SECONDS = 120.0

_SOON = {
    EXPUNGE_SECONDS: 60,
    APPLIANCE_IDLE_SECONDS: 30,
    GRID_BILL_SECONDS: 60,
    GRID_SNAPSHOT_SECONDS: 120,
    IMAGE_EVICT_SECONDS: 60,
    IMAGE_FETCH_SECONDS: 900,  # whoever deleted the last one while others began to fetch it
}
_ASK, _HAPPEN = 0.6, 0.25  # in each step
_FREE: list[Database] = []


@dataclass(frozen=True, slots=True)
class GridShape:
    """What a story is about."""

    rooms: tuple[Room, ...]
    happenings: tuple[Happening, ...]
    asks: tuple[tuple[str, Ask], ...] = ASKS
    away: bool = False  # whether in the end every region is alone for a while

    @classmethod
    def drawn(cls, dice: Random) -> "GridShape":
        """Any."""
        rooms = tuple(dice.choice(ROOMS) for _ in range(dice.choice((2, 2, 3))))
        chosen = set(KINDS) if dice.random() < 0.2 else {k for k in KINDS if dice.random() < 0.5}
        happenings = tuple(h for h in HAPPENINGS if h.kind in chosen or not h.kind)
        return cls(rooms, happenings, away=dice.random() < 0.3)


class GridWorld:
    """One seed."""

    def __init__(self, seed: str, shape: GridShape | None = None) -> None:
        self.seed, self.steps = seed, 0
        self.trace: deque[str] = deque(maxlen=80)
        entropy = Entropy(seed)
        self.shape = shape or GridShape.drawn(entropy.child("grid shape").random)
        self.dice = entropy.child("grid schedule").random
        self._folder = TemporaryDirectory(prefix="arable-grid-")
        self._memories: dict[str, Memories] = {}
        self._databases: list[Database] = []
        self.clock = VirtualClock()
        folder = Path(self._folder.name)
        manager = SimManager.of(folder / "grid", self.clock, entropy.child("manager"), self._one())
        wan = Wan(self.clock, entropy.child("wan").random)
        self.grid = Grid(wan, manager)
        for name, room in zip(NAMES, self.shape.rooms, strict=False):
            region = GridRegion.found(name, seed, folder / name, room, self._one(), self.grid)
            self._memories[name] = Memories()
            with region.database.write() as tx:
                values: dict[str, Any] = {each.name: value for each, value in _SOON.items()}
                settings.put(tx, values | {GRID_MAY_CHANGE_ACCOUNTS.name: "yes"})
                number = NAMES.index(name) + 1
                for table, columns in _PUBLIC:
                    said = ", ".join(f"{c} = replace({c}, '203.0.113', '203.0.{number}')" for c in columns)  # fmt: skip
                    tx.exec_driver_sql(f"update {table} set {said}")  # noqa: S608 - our own words
        self.asking = Asking(self.grid, entropy.child("asks").random)
        self.watch = Watch(self.asking)

    def run(self, steps: int) -> None:
        """Break, look; heal, demand. Raises `Broken` with the story's end."""
        try:
            self.begin()
            while self.steps < steps:
                self.step()
            self._heal()
            self._rest()
            if self.shape.away:
                self._alone()
        except Exception as error:
            story = "\n  ".join(self.trace)
            told = (
                str(error)
                if isinstance(error, invariants.Broken)
                else "".join(traceback.format_exception(error)[-8:])
            )
            where = f"grid seed {self.seed}, step {self.steps} of {steps}, {self._told()}"
            raise invariants.Broken(f"{where}: {told}\n  {story}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Nothing is left of it."""
        for database in self._databases:
            database.close()
        _FREE.extend(self._databases)
        self._folder.cleanup()

    def facts(self) -> list[str]:
        """What the grid manager was told, as it knows it."""
        query = "select region, kind, key, version from grid_fact order by region, kind, key"
        with self.grid.manager.database.read() as tx:
            return [str(tuple(row)) for row in tx.exec_driver_sql(query)]

    def live(self, seconds: float, grain: float = GRAIN) -> None:
        """So much time passes, in which everybody everywhere does what is due."""
        left = seconds
        while left > 1e-6:
            step = min(grain, left)
            left -= step
            self.clock.wait(timedelta(seconds=step))
            order = list(self.grid.regions.values())
            self.dice.shuffle(order)
            for region in order:
                region.shared.tick()
                region.move()
            self.grid.wan.tick()

    def _one(self) -> Database:
        self._databases.append(_FREE.pop() if _FREE else in_memory())
        return self._databases[-1]

    def _told(self) -> str:
        kinds = sorted({each.kind for each in self.shape.happenings if each.kind})
        return f"{len(self.grid.regions)} regions, {' '.join(kinds) or 'no trouble'}"

    def begin(self) -> None:
        """All regions have said and heard what there is, and each of them has an image of its own."""
        self.live(4.0)
        grid_asks.federate(self.grid)
        grid_asks.limit(self.grid)
        for name, region in self.grid.regions.items():
            called = IMAGE if name == NAMES[0] else f"{name}-0"
            id_ = grid_asks.make_image(region, 0, called)
            grid_asks.publish(region, id_, called, 1, 0)
        self.live(24.0)

    # --- break

    def step(self) -> None:
        """One: time passes, somebody asks for something or something happens, and all is looked at."""
        self.steps += 1
        self.live(self.dice.uniform(0.0, 12.0))
        chance = self.dice.random()
        if chance < _ASK:
            for _ in range(self.dice.choice((1, 2, 3))):
                self._tell(self._ask())
        elif chance < _ASK + _HAPPEN and self.shape.happenings:
            weights = [each.weight for each in self.shape.happenings]
            (chosen,) = self.dice.choices(self.shape.happenings, weights)
            self._tell(chosen.do(self.grid, self.dice))
        self._look()

    def _ask(self) -> str:
        name, ask = self.dice.choice(self.shape.asks)
        try:
            about = ask(self.asking)
        except CloudError as error:
            return f"{name}: {type(error).__name__} {error.public}"
        return f"{name} {about}"

    def _tell(self, told: str) -> None:
        if told:
            self.trace.append(f"{self.clock.now():%H:%M:%S} {told}")

    def _look(self) -> None:
        for name, region in self.grid.regions.items():
            hardware = _hardware(region)
            with region.database.read() as tx:
                try:
                    invariants.always(tx, hardware)
                except invariants.Broken as broken:
                    raise invariants.Broken(f"{name}: {broken}") from broken
            if mishaps := self._memories[name].look(hardware):
                raise invariants.Broken("; ".join(mishaps))
        if broken_ := list(self.watch.look()):
            raise invariants.Broken("; ".join(broken_))

    # --- heal

    def _heal(self) -> None:
        self.grid.wan.heal()
        self.grid.manager.up = True
        for region in self.grid.regions.values():
            region.heal()
        self._tell("healed")

    def _rest(self) -> None:
        began, row, given_up = self.clock.monotonic(), 0.0, False
        while row < QUIET_SECONDS:
            self.live(20.0)
            self._look()
            for asked in list(self.asking.unanswered):
                self._tell("again: " + grid_asks.told(self.asking, asked))
            waited = self.clock.monotonic() - began
            unrest_ = self._unrest()
            if unrest_ and waited > GIVES_UP_SECONDS and not given_up:
                self._tell(unrest_)
                given_up = True
            if unrest_ and given_up:
                self._give_up()
            row = 0.0 if unrest_ else row + 20.0
            if unrest_ and waited > REST_SECONDS:
                raise invariants.Broken(unrest_)

    def _give_up(self) -> None:
        """Farms that wait for what there is no room for are removed by whoever wanted them."""
        for region in self.grid.regions.values():
            waiting = self.asking.rows(
                region, "select distinct farm from farm_region where state <> 'ready' and not gone"
            )
            for (farm,) in waiting:
                with suppress(CloudError):
                    operator = region.ground.operator
                    region.ask(operator, lambda call, f=farm: farms.delete(call, FarmId(f)))
                    self._tell(f"{farm} of {region.name} is given up")
            self._tell(give_up(region))

    def _unrest(self) -> str:
        """What is not as it should be in the end; empty when all is."""
        for name, region in self.grid.regions.items():
            if told := unrest(region):
                return f"{name}: {told}"
        return "; ".join(at_rest(self.asking))

    # --- alone

    def _alone(self) -> None:
        """Every region is cut off, and the grid manager is away: machines run on, and what is said elsewhere is said to
        be old; afterwards all is as it was.
        """
        before = self._runs()
        self.grid.manager.up = False
        self.grid.wan.cut |= {frozenset((a, b)) for a in NAMES for b in NAMES if a != b}
        self._tell("everybody is alone")
        self.live(AWAY_SECONDS, 5.0)
        self._look()
        for region in self.grid.regions.values():
            told = region.ask(region.ground.operator, regions.status).told
            if "last heard" not in told:
                raise invariants.Broken(f"{region.name} does not say how old its word is: {told!r}")
        if (now := self._runs()) != before:
            raise invariants.Broken(f"alone, {before} became {now}")
        self._heal()
        self._rest()
        if (now := self._runs()) != before:
            raise invariants.Broken(f"after all were alone, {before} became {now}")

    def _runs(self) -> dict[str, int]:
        return {
            str(machine): guest.starts
            for region in self.grid.regions.values()
            for node in region.nodes.values()
            for machine, guest in node.hardware.guests.items()
            if guest.awake
        }


_PUBLIC = (("address", ("address",)), ("public_range", ("cidr", "gateway", "first", "last")))


def _hardware(region: GridRegion) -> dict[Any, Any]:
    return {id_: node.hardware for id_, node in region.nodes.items()}
