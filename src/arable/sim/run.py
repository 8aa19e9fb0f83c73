"""`python -m arable.sim.run --seeds 200` or `--seed n`: the simulated world from the command line."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

from arable.runtime.clock import RealClock
from arable.sim.invariants import Broken
from arable.sim.world import World

STEPS = 600
_TELL_SECONDS = 30.0
_AHEAD = 64  # seeds that are given to the players at once
_SHORTER = 5  # attempts to tell a failing story in fewer steps


def play(seed: str, steps: int) -> tuple[str, str, int]:
    """One seed: its name, what was not well (empty when all was), and in how many steps that can be shown."""
    logging.disable(logging.ERROR)
    told, least = _played(seed, steps), steps
    if told and told[1] < steps:
        return seed, told[0], told[1]
    low = 0
    for _ in range(_SHORTER if told else 0):  # it fails after the last step, so perhaps after fewer
        middle = (low + least) // 2
        found = _played(seed, middle)
        if found:
            told, least = found, found[1]
        else:
            low = middle
    return seed, told[0] if told else "", least


def _played(seed: str, steps: int) -> tuple[str, int] | None:
    world = World(seed)
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
    parser.add_argument("--steps", type=int, default=STEPS, help="how long each story is")
    asked = parser.parse_args()
    numbers = range(asked.first, asked.first + asked.seeds)
    seeds = [asked.seed] if asked.seed else [str(n) for n in numbers]
    clock = RealClock()
    began = said = clock.monotonic()
    done, failed = 0, list[str]()
    for seed, told, steps in _played_together(seeds, asked.steps):
        done += 1
        if told:
            failed.append(seed)
            print(f"{told}\nreplay: make world SEED={seed} STEPS={steps}\n", flush=True)
        now = clock.monotonic()
        if now - said >= _TELL_SECONDS:
            said, left = now, (now - began) / done * (len(seeds) - done)
            print(f"{done} of {len(seeds)}, {len(failed)} failed, {left:.0f} s to go", flush=True)
    took = clock.monotonic() - began
    print(f"{len(seeds)} worlds of {asked.steps} steps in {took:.0f} s")
    print(f"{done - len(failed)} passed, {len(failed)} failed {' '.join(failed)}".rstrip())
    return 1 if failed else 0


def _played_together(seeds: Sequence[str], steps: int) -> Iterator[tuple[str, str, int]]:
    """On all processors, in whatever order they end."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for at in range(0, len(seeds), _AHEAD):
            players = [pool.submit(partial(play, seed, steps)) for seed in seeds[at : at + _AHEAD]]
            for each in as_completed(players):
                yield each.result()


if __name__ == "__main__":
    sys.exit(main())
