"""Run the whole test suite: what needs real drivers and the lab, and beside it, with low priority, all else.

The real tests mostly wait, for guests to boot and timers to end, and want the processor at once when it comes to that.
What only computes takes the time in between, so the whole takes little longer than the longer of the two. Without root
or the tools, the real tests are left out and said to be: no test of them would be worth anything.

A test or two that failed beside all others are run once more, alone (docs/decisions/0032).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

PYTEST = [sys.executable, "-m", "pytest", "-q", "--durations=30"]
REAL = ["-m", "real", "-n", "2", "--dist", "loadgroup"]
# Each of the two gets half of them in one piece, so that files' own fixtures are made once, and then what the other one has left.
OTHERS = ["-m", "not real", "-n", "2", "--dist", "worksteal"]
# What fits; `make world` plays longer stories.
WORLD = [sys.executable, "-m", "arable.sim.run", "--seeds", "200", "--steps", "60"]
TOOLS = ("qemu-system-x86_64", "libvirtd", "ovs-vsctl", "nft", "dnsmasq", "bwrap", "ip", "nice")
LOW = ["nice", "-n", "10"]  # a tenth of the processor when others want it
MOST_AGAIN = 2
"""Tests that may be run once more, of the real ones and of the others. With more, it is not the machine."""
TESTS_FAILED = 1  # pytest's exit code; any other says that it did not come to that


def main(more: list[str]) -> int:
    """All parts, whatever became of those before; the exit code of the first that failed."""
    if not more:
        compile_all()
    worlds = [] if more else [WORLD]
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if os.geteuid() != 0 or missing:
        why = f"missing: {', '.join(missing)}" if missing else "not root"
        print(f"The tests of real drivers and the lab are left out ({why}).", flush=True)
        return first(run([[*PYTEST, *more, *OTHERS], *worlds]))
    with (
        tempfile.TemporaryDirectory() as kept,
        tempfile.TemporaryFile() as said,
        ThreadPoolExecutor(1) as beside,
    ):
        mine, theirs = Path(kept) / "real", Path(kept) / "others"
        rest = [[*PYTEST, *more, *OTHERS, *failures_in(theirs)], *worlds]
        others = beside.submit(run, [LOW + each for each in rest], said)
        real, *_ = run([[*PYTEST, *(more or real_files()), *REAL, *failures_in(mine)]])
        print("The others, which run beside these:", flush=True)
        computed, *told = others.result()
        said.seek(0)
        shutil.copyfileobj(said, sys.stdout.buffer)
        sys.stdout.flush()
        return first([once_more(real, mine), once_more(computed, theirs), *told])


def failures_in(folder: Path) -> list[str]:
    """Have pytest write down there what failed."""
    return ["-o", f"cache_dir={folder}"]


def once_more(code: int, folder: Path) -> int:
    """If a few failed: each again, alone on the machine. The exit code from then on."""
    if code != TESTS_FAILED:
        return code
    failed = sorted(json.loads((folder / "v" / "cache" / "lastfailed").read_text()))
    if len(failed) > MOST_AGAIN:
        return code
    print("Failed beside others, run once more, alone:", *failed, sep="\n  ", flush=True)
    code = first(run([[*PYTEST, "-n", "0", each] for each in failed]))
    if code == 0:
        print("Each passed alone. Why it failed is still to be found: see above.", flush=True)
    return code


def compile_all() -> None:
    """Tests and what they import, once: in a new clone each of the workers would compile it all for itself."""
    collect = [*PYTEST, "--collect-only", "-n", "0"]
    subprocess.run(collect, check=False, stdout=subprocess.DEVNULL, env=environment())


def real_files() -> list[str]:
    """The files that have real tests: to collect all others only to leave them out takes a while, in each process."""
    files = sorted(Path("tests").rglob("test_*.py"))
    return [str(each) for each in files if "mark.real" in each.read_text()]


def run(parts: Sequence[list[str]], said: IO[bytes] | None = None) -> list[int]:
    """One after the other, what they say into that file; their exit codes."""
    return [
        subprocess.run(each, check=False, stdout=said, stderr=said, env=environment()).returncode
        for each in parts
    ]


def first(codes: list[int]) -> int:
    """The exit code of the first that failed."""
    return next((code for code in codes if code), 0)


def environment() -> dict[str, str]:
    """Where Python must not keep what it compiled, hundreds of processes would compile the same files each."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
