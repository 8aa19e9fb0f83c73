"""What a management server costs that has nothing to do: memory, and CPU while four hosts are connected.

The server is that of `arable up --lab sim` with the data centre of `examples/lab.yaml`: four hosts whose real agents
report every few seconds, an image, no machines. The baseline is a Python that has imported the libraries we stand on
and waits: what is above it is ours.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from bench.figures import Table, machine, median, ratio, result, shown
from bench.quiet import await_quiet
from bench.usage import Memory, cpu_seconds, memory

_LIBRARIES = (
    *("alembic", "argon2", "cryptography.x509", "httptools", "msgspec", "numpy"),
    *("sqlalchemy", "starlette.applications", "uvicorn", "uvloop", "websockets"),
)
_QUIET = 15.0  # seconds from the last host that came up


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench idle-cost", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of idleness")
    parser.add_argument("--quiet", type=float, default=_QUIET, help="seconds before it begins")
    parser.add_argument("--repeat", type=int, default=3, help="intervals; the median counts")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds at most for the machine to be quiet"
    )
    options = parser.parse_args(argv)
    print(machine())
    with libraries() as bare, tempfile.TemporaryDirectory(prefix="arable-bench-") as folder:
        least = memory(bare)
        wanted = Wanted(
            data=Path(folder), topology=up.topology_of(None), simulated=True, api="127.0.0.1:0"
        )
        with up.cloud(wanted, RealClock(), lambda _text: None) as cloud:
            (ready,) = cloud.ready.values()
            time.sleep(options.quiet)
            await_quiet(options.wait)
            shares = [_share(ready.pid, options.seconds) for _ in range(options.repeat)]
            used = memory(ready.pid)
    print(table(least, used, shares).text())
    print(result("memory_mb", used.rss, "MB", "120"))
    print(result("idle_cpu_percent", median(shares), "%", "2"))


def table(least: Memory, used: Memory, shares: Sequence[float]) -> Table:
    """All that was measured."""
    made = Table("A server without anything to do", ("what", "libraries alone", "server", "ratio"))
    made.add("memory, RSS, MB", shown(least.rss), shown(used.rss), ratio(used.rss, least.rss))
    made.add("memory, PSS, MB", shown(least.pss), shown(used.pss), ratio(used.pss, least.pss))
    made.add("CPU, % of a core", "0.00", shown(median(shares)), "-")
    made.add("  least and most", "", f"{shown(min(shares))} - {shown(max(shares))}", "-")
    return made


@contextmanager
def libraries() -> Iterator[int]:
    """A process that has imported what we stand on, and no more."""
    source = f"import {', '.join(_LIBRARIES)}, sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as started:
        assert started.stdout
        assert started.stdin
        started.stdout.readline()
        try:
            yield started.pid
        finally:
            started.stdin.close()


def _share(pid: int, seconds: float) -> float:
    """Per cent of a core."""
    cpu, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - cpu) / (time.monotonic() - began)


if __name__ == "__main__":
    main(sys.argv[1:])
