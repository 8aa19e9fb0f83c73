"""`python -m arable.sim.run_breaks`: every workflow, broken between any two of its steps, from the command line."""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

from arable.runtime.clock import RealClock
from arable.sim.breaks import play
from arable.sim.carry_stories import CARRIES
from arable.sim.farm_stories import FARMS
from arable.sim.invariants import Broken
from arable.sim.replica_stories import REPLICAS
from arable.sim.rollout_stories import ROLLOUTS
from arable.sim.shift_stories import SHIFTS
from arable.sim.snapshot_stories import SNAPSHOTS
from arable.sim.stories import STORIES

_NAMED = {
    story.name: story
    for story in (*STORIES, *SNAPSHOTS, *CARRIES, *SHIFTS, *REPLICAS, *FARMS, *ROLLOUTS)
}


def broken(name: str, at: int) -> str:
    """One story with one break; empty text when all was well, else what was not."""
    try:
        play(_NAMED[name], at)
    except Broken as told:
        return str(told)
    return ""


def places(name: str) -> int:
    """How many things can break in it."""
    return len(play(_NAMED[name]))


def main() -> int:
    """Play; the exit code tells whether every break was survived."""
    parser = argparse.ArgumentParser(description="Break every workflow between any two steps.")
    parser.add_argument("--story", choices=sorted(_NAMED), action="append", help="only these")
    parser.add_argument("--at", type=int, help="only this place")
    parser.add_argument("--stride", type=int, default=1, help="only each so many places")
    asked = parser.parse_args()
    clock = RealClock()
    began, played, failed = clock.monotonic(), 0, 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        names = asked.story or list(_NAMED)
        for name, count in zip(names, pool.map(places, names), strict=True):
            at = range(0, count, asked.stride) if asked.at is None else [asked.at]
            told = [said for said in pool.map(broken, repeat(name), at, chunksize=4) if said]
            print(f"{name}: {len(at)} of {count} places, {len(told)} not survived", flush=True)
            print(*told, sep="\n", end="\n" if told else "")
            played, failed = played + len(at), failed + len(told)
    took = clock.monotonic() - began
    print(f"{played} breaks in {took:.0f} s: {played - failed} survived, {failed} did not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
