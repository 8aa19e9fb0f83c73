"""Which processes are ours, and whether they still live.

A process id alone says nothing after a crash, as the number may have been given to somebody else meanwhile; with
its time of birth beside it, it names one process for ever. Everything a lab starts carries the lab's name in its
environment, so that what a killed builder left behind can be found even where it was not yet written down.
"""

import os
import select
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

from arable.runtime.clock import Clock

MARK = "ARABLE_LAB"


class Process(msgspec.Struct, frozen=True):
    """A process by number and birth (clock ticks since the machine's start)."""

    pid: int
    born: int

    @property
    def alive(self) -> bool:
        """Whether it runs. One that waits to be reaped does not, unless threads of it still hold what it held."""
        found = _stat(self.pid)
        if found is None or found.born != self.born:
            return False
        return found.state not in "ZX" or found.threads > 1

    def signal(self, number: int) -> None:
        """Send it; a process that is gone doesn't mind."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def process(pid: int) -> Process | None:
    """The process that has this number now."""
    found = _stat(pid)
    return None if found is None else Process(pid, found.born)


def marked(mark: str) -> Iterator[Process]:
    """Every process that was started for that lab, this one apart."""
    wanted = f"{MARK}={mark}".encode()
    for pid in _pids():
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                yield from _named(pid)


def within(namespaces: Iterable[int]) -> Iterator[Process]:
    """Every process in one of these network namespaces (by inode), this one apart."""
    wanted = set(namespaces)
    for pid in _pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino in wanted:
                yield from _named(pid)


def family(root: Process) -> list[Process]:
    """A process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        found = _stat(pid)
        if found:
            children.setdefault(found.parent, []).append(pid)
    members, waiting = [], [root.pid] if root.alive else []
    while waiting:
        pid = waiting.pop()
        members += _named(pid)
        waiting += children.get(pid, [])
    return members


def end(processes: Iterable[Process], clock: Clock, *, grace: timedelta = timedelta()) -> None:
    """Ask to leave, wait up to `grace`, then kill, and return when all are gone."""
    left = [process for process in processes if process.alive]
    if grace:
        for one in left:
            one.signal(signal.SIGTERM)
        left = await_end(left, clock, grace)
    for one in left:
        one.signal(signal.SIGKILL)
    stubborn = await_end(left, clock, timedelta(seconds=20))
    if stubborn:
        raise TimeoutError(f"killed, but not gone: {[one.pid for one in stubborn]}")


def await_end(processes: Iterable[Process], clock: Clock, limit: timedelta) -> list[Process]:
    """Those that still live when the others are gone or time is up."""
    until = clock.monotonic() + limit.total_seconds()
    left = [one for one in processes if one.alive]
    for one in left:
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(one.pid)
            try:
                if one.alive:  # the number may have changed hands before we got hold of it
                    end = select.poll()
                    end.register(fd, select.POLLIN)
                    end.poll(max(0.0, until - clock.monotonic()) * 1000)
            finally:
                os.close(fd)
    return [one for one in left if one.alive]


def _named(pid: int) -> list[Process]:
    found = process(pid)
    return [found] if found and found.alive and pid != os.getpid() else []


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


class _Stat(NamedTuple):
    parent: int
    state: str
    threads: int
    born: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(int(fields[1]), fields[0], int(fields[17]), int(fields[19]))
