"""`python -m arable.sim.run --seeds 200` or `--seed n`: the simulated world from the command line."""

import argparse
import logging
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from arable.runtime.clock import RealClock
from arable.sim.invariants import Broken
from arable.sim.world import World

STEPS = 600


def play(seed: str, steps: int) -> str:
    """One seed; empty text when all was well, else what was not."""
    logging.disable(logging.ERROR)
    try:
        World(seed).run(steps)
    except Broken as broken:
        return str(broken)
    return ""


def main() -> int:
    """Play; the exit code tells whether every seed was well."""
    parser = argparse.ArgumentParser(description="Play the simulated cloud.")
    parser.add_argument("--seeds", type=int, default=200, help="play seeds 0 to this number")
    parser.add_argument("--seed", help="replay one")
    parser.add_argument("--steps", type=int, default=STEPS, help="how long each story is")
    asked = parser.parse_args()
    seeds = [asked.seed] if asked.seed else [str(n) for n in range(asked.seeds)]
    clock = RealClock()
    began = clock.monotonic()
    failed = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for seed, told in zip(
            seeds, pool.map(partial(play, steps=asked.steps), seeds), strict=True
        ):
            if told:
                failed += 1
                print(f"{told}\nreplay: make world SEED={seed} STEPS={asked.steps}\n")
    took = clock.monotonic() - began
    print(f"{len(seeds)} worlds of {asked.steps} steps in {took:.0f} s")
    print(f"{len(seeds) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
