"""`python -m arable.sim.run_members --seeds 200` or `--seed n`: elections under the dice, from the command line."""

import argparse
import logging
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from arable.runtime.clock import RealClock
from arable.sim.invariants import Broken
from arable.sim.members import Members

SECONDS = 40.0


def play(seed: str, seconds: float) -> str:
    """One seed; empty text when all was well, else what was not."""
    logging.disable(logging.ERROR)
    try:
        Members(seed).run(seconds)
    except Broken as broken:
        return str(broken)
    return ""


def main() -> int:
    """Play; the exit code tells whether every seed was well."""
    parser = argparse.ArgumentParser(description="Play elections among management servers.")
    parser.add_argument("--seeds", type=int, default=200, help="play seeds 0 to this number")
    parser.add_argument("--seed", help="replay one")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of trouble, in each story")
    asked = parser.parse_args()
    seeds = [asked.seed] if asked.seed else [str(n) for n in range(asked.seeds)]
    clock = RealClock()
    began, failed = clock.monotonic(), 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        told = pool.map(partial(play, seconds=asked.seconds), seeds, chunksize=8)
        for seed, said in zip(seeds, told, strict=True):
            if said:
                failed += 1
                print(f"{said}\nreplay: python -m arable.sim.run_members --seed {seed} --seconds {asked.seconds}\n")  # fmt: skip
    took = clock.monotonic() - began
    print(f"{len(seeds)} clusters in {took:.0f} s: {len(seeds) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
