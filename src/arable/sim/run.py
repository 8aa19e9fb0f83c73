"""`python -m arable.sim.run --seeds 200` or `--seed n`: the simulated world from the command line.

With `--grid`, worlds of several regions and their grid manager.
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

from arable.runtime.clock import RealClock
from arable.sim.grid_world import GridWorld
from arable.sim.invariants import Broken
from arable.sim.world import World

STEPS = 600
GRID_STEPS = 150
_TELL_SECONDS = 30.0
_AHEAD = 64  # seeds that are given to the players at once
_SHORTER = 5  # attempts to tell a failing story in fewer steps


def play(seed: str, steps: int, *, grid: bool = False) -> tuple[str, str, int]:
    """One seed: its name, what was not well (empty when all was), and in how many steps that can be shown."""
    logging.disable(logging.ERROR)
    told, least = _played(seed, steps, grid=grid), steps
    if told and told[1] < steps:
        return seed, told[0], told[1]
    low = 0
    for _ in range(_SHORTER if told else 0):  # it fails after the last step, so perhaps after fewer
        middle = (low + least) // 2
        found = _played(seed, middle, grid=grid)
        if found:
            told, least = found, found[1]
        else:
            low = middle
    return seed, told[0] if told else "", least


def _played(seed: str, steps: int, *, grid: bool) -> tuple[str, int] | None:
    world = GridWorld(seed) if grid else World(seed)
    try:
        world.run(steps)
    except Broken as broken:
        return str(broken), world.steps
    return None


def main() -> int:
    """Play; the exit code tells whether every seed was well."""
    parser = argparse.ArgumentParser(description="Play the simulated cloud.")
    parser.add_argument("--seeds", type=int, default=200, help="play so many seeds")
    parser.add_argument("--first", type=int, default=0, help="from this one on")
    parser.add_argument("--seed", help="replay one")
    parser.add_argument("--steps", type=int, help="how long each story is")
    parser.add_argument("--grid", action="store_true", help="worlds of several regions")
    asked = parser.parse_args()
    steps = asked.steps or (GRID_STEPS if asked.grid else STEPS)
    again = f"make world{' GRID=1' if asked.grid else ''}"
    numbers = range(asked.first, asked.first + asked.seeds)
    seeds = [asked.seed] if asked.seed else [str(n) for n in numbers]
    clock = RealClock()
    began = said = clock.monotonic()
    done, failed = 0, list[str]()
    for seed, told, least in _played_together(seeds, steps, grid=asked.grid):
        done += 1
        if told:
            failed.append(seed)
            print(f"{told}\nreplay: {again} SEED={seed} STEPS={least}\n", flush=True)
        now = clock.monotonic()
        if now - said >= _TELL_SECONDS:
            said, left = now, (now - began) / done * (len(seeds) - done)
            print(f"{done} of {len(seeds)}, {len(failed)} failed, {left:.0f} s to go", flush=True)
    took = clock.monotonic() - began
    print(f"{len(seeds)} worlds of {steps} steps in {took:.0f} s")
    print(f"{done - len(failed)} passed, {len(failed)} failed {' '.join(failed)}".rstrip())
    return 1 if failed else 0


def _played_together(
    seeds: Sequence[str], steps: int, *, grid: bool
) -> Iterator[tuple[str, str, int]]:
    """On all processors, in whatever order they end."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for at in range(0, len(seeds), _AHEAD):
            some = seeds[at : at + _AHEAD]
            players = [pool.submit(partial(play, seed, steps, grid=grid)) for seed in some]
            for each in as_completed(players):
                yield each.result()


if __name__ == "__main__":
    sys.exit(main())
