"""Moves in a world in which anything fails at any time: the machine never runs twice, never from an old copy, and runs
again when all is well. The control plane here does what docs/decisions/0008 tells it to, and nothing else.
"""

import pytest

from agent.leased_world import LENGTH, M
from agent.moving_world import Mobile, MovingWorld
from arable.domain.manifest import ExportState, MovePhase
from arable.drivers.faults import Faults
from arable.runtime.entropy import Entropy

SEEDS = [str(n) for n in range(60)]


class Planner:
    """Moves the machine back and forth, gives up when told to, and takes what the storage host says for the truth."""

    def __init__(self, world: MovingWorld) -> None:
        self.world = world
        self.here: Mobile = world.a
        self.epoch = self.highest = 1
        self.to = 0  # of the attempt; 0: none
        self.taking_back = False
        self.patience = 0
        self.moves = self.failures = 0
        world.place(1, world.a)

    @property
    def target(self) -> Mobile:
        return self.world.other(self.here)

    def begin(self) -> None:
        self.highest += 1
        self.to, self.patience, self.taking_back = self.highest, 120, False
        self.world.wish_target(self.here, self.epoch, self.to)

    def step(self) -> None:
        seen = self.world.storage.server.exports.get(M)
        if not self.to or seen is None:
            return
        self.patience -= 1
        if seen.epoch == self.to:
            self.world.finish(self.target, self.to)
            self.here, self.epoch, self.to = self.target, self.to, 0
            self.moves += 1
        elif self.taking_back:
            if seen.generation == self.to * 10 + 5:
                self.world.took_back(self.here, self.epoch, self.to)
                self.to = 0
                self.failures += 1
        elif self.patience < 0 or self._failed():
            self.world.take_back(self.here, self.epoch, self.to)
            self.taking_back = True
        else:
            there = self.target.move()
            if there and there.epoch == self.to and there.address:
                self.world.wish_source(self.here, self.epoch, self.to, there.address)

    def fence(self, *, powerless: bool) -> None:
        """The host is given up for the other one."""
        self.highest += 1
        lost, self.here = self.here, self.target
        self.epoch, self.to = self.highest, 0
        self.world.place(self.epoch, self.here, fenced=lost.name if powerless else None)

    def _failed(self) -> bool:
        seen = self.here.move()
        return seen is not None and seen.epoch == self.to and seen.phase is MovePhase.FAILED


class Trouble:
    """Whatever may happen, and that it is over."""

    def __init__(self, world: MovingWorld, planner: Planner, seed: str) -> None:
        self.world, self.planner = world, planner
        self.dice = Entropy(seed).child("trouble").random
        self.happened: list[str] = []

    def maybe(self, *, often: float) -> None:
        if self.dice.random() >= often:
            return
        world, dice = self.world, self.dice
        host = dice.choice([world.a, world.b])
        what = dice.choice(
            ("restart", "freeze", "cut", "wire", "storage", "faults", "power", "fence", "crash")
        )
        self.happened.append(f"{what} {host.name} at {world.clock.monotonic():.1f}")
        match what:
            case "restart":
                if not host.off:
                    host.restart()
            case "freeze":
                host.frozen = not host.frozen
            case "cut":
                world.cut ^= {host.name}
            case "wire":
                world.wire_cut = not world.wire_cut
            case "storage":
                if dice.random() < 0.5:
                    world.storage.restart()
                else:
                    world.storage.frozen = not world.storage.frozen
            case "faults":
                for faults in (host.faults, world.storage.faults, world.storage.exports.faults):
                    faults.fail_at = faults.passed + dice.randint(0, 6)
                world.storage.records.faults = Faults(fail_at=dice.randint(0, 6))
            case "power":
                host.power(on=host.off)
            case "fence":
                if dice.random() < 0.3:
                    self.planner.fence(powerless=False)
            case "crash":
                if M in host.hardware.guests:
                    host.hardware.crash(M)

    def ends(self) -> None:
        world = self.world
        world.cut.clear()
        world.wire_cut = world.storage.frozen = False
        for host in world.computes.values():
            host.frozen = False
            if host.off:
                host.power(on=True)


def settle(world: MovingWorld, planner: Planner) -> None:
    """All is well; so the machine runs, at one place, and no attempt is left."""
    for _ in range(round(8 * LENGTH / 0.5)):
        world.tick()
        planner.step()
        seen = world.seen()
        done = not planner.to and seen.epoch == planner.epoch and seen.state is ExportState.HELD
        if done and planner.here.runs() and not planner.target.arrives():
            return
    raise AssertionError(f"not settled: {world.seen()}")


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_it_never_runs_twice_nor_from_an_old_copy_and_runs_in_the_end(seed) -> None:
    dice = Entropy(seed).child("world").random
    world = MovingWorld(seconds=dice.choice((0.0, 0.6, 2.0, 5.0)), live=dice.random() < 0.5)
    planner = Planner(world)
    trouble = Trouble(world, planner, seed)
    world.until(world.a.runs)
    try:
        for _ in range(300):
            world.tick(dice.choice((0.1, 0.5, 1.0)))
            planner.step()
            if not planner.to and dice.random() < 0.1:
                planner.begin()
            trouble.maybe(often=0.08)
        trouble.ends()
        settle(world, planner)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}; {trouble.happened[-12:]}") from error


def test_the_model_does_move_machines() -> None:
    """Else it would show nothing."""
    moves = failures = 0
    for seed in SEEDS[:15]:
        dice = Entropy(seed).child("world").random
        world = MovingWorld(seconds=1.0)
        planner = Planner(world)
        trouble = Trouble(world, planner, seed)
        world.until(world.a.runs)
        for _ in range(200):
            world.tick()
            planner.step()
            if not planner.to and dice.random() < 0.2:
                planner.begin()
            trouble.maybe(often=0.02)
        moves += planner.moves
        failures += planner.failures
    assert moves >= 15
    assert failures >= 3
