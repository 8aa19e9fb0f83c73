"""The processes that `arable up` starts beside a lab's: where they answer, and that they end with us.

`setpriv --pdeathsig` has the kernel end a child whose parent died, however it died: a killed `arable up` leaves no
server behind that would hold the database. A lab's own processes are found by their mark instead (`lab/living.py`).
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from arable.domain.errors import Unavailable
from arable.processes.ready import GRID, SERVER, GridReady, Ready
from arable.runtime.clock import Clock

_READY_WITHIN = 120.0
_LEAVE_WITHIN = 15.0
_STEP = timedelta(milliseconds=50)
_Said = TypeVar("_Said", Ready, GridReady)


@contextmanager
def child(argv: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that runs inside the block and leaves after it, asked first."""
    with log.open("ab") as said:
        started = subprocess.Popen(
            ["setpriv", "--pdeathsig", "SIGTERM", "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(_LEAVE_WITHIN)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def await_ready(data: Path, pid: int, alive: Callable[[], bool], log: Path, clock: Clock) -> Ready:
    """What the server with that process id says of itself, once it listens. Raises `Unavailable` with its last words."""
    return _await(data / SERVER, Ready, pid, alive, log, clock)


def await_grid_ready(
    data: Path, pid: int, alive: Callable[[], bool], log: Path, clock: Clock
) -> GridReady:
    """The same of a grid manager."""
    return _await(data / GRID, GridReady, pid, alive, log, clock)


def _await(
    file: Path, what: type[_Said], pid: int, alive: Callable[[], bool], log: Path, clock: Clock
) -> _Said:
    end = clock.monotonic() + _READY_WITHIN
    while True:
        found = _read(file, what)
        if found is not None and found.pid == pid:
            return found
        if not alive():
            raise Unavailable(f"the management server ended: {last_words(log)}")
        if clock.monotonic() > end:
            raise Unavailable(f"the management server does not get ready; see {log}")
        clock.wait(_STEP)


def last_words(log: Path) -> str:
    """The last line of a log."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return f"{lines[-1]} (see {log})" if lines else f"it said nothing in {log}"


def _read(path: Path, what: type[_Said]) -> _Said | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=what)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
