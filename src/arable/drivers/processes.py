"""Processes that outlive us, found again by their command lines and ended for certain.

A number alone names nobody after a restart, so a process is known by words of its command line that no other one
has, and held by a pidfd from the moment it was recognised: what is killed then is what was looked at.
"""

import os
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from arable.domain.errors import Unavailable

Words = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Running:
    """A process, held open: `pid` can't become another's while this is."""

    pid: int
    handle: int

    @property
    def ended(self) -> bool:
        """Whether it is gone, with all its threads."""
        return bool(select.select([self.handle], [], [], 0)[0])

    def strike(self) -> None:
        """It is told to end, and will."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def kill(self, seconds: float) -> None:
        """It is gone when this returns. Raises `Unavailable` when it is not, as one whose disk does not answer."""
        self.strike()
        if not select.select([self.handle], [], [], seconds)[0]:
            raise Unavailable(f"process {self.pid} was killed and does not end")

    def close(self) -> None:
        """Hold it no longer."""
        os.close(self.handle)


def hold(pid: int, fits: Callable[[Words], bool]) -> Running | None:
    """The process of that number, if its command line fits."""
    try:
        handle = os.pidfd_open(pid)
    except (ProcessLookupError, ValueError):
        return None
    if fits(_words(pid)):
        return Running(pid, handle)
    os.close(handle)
    return None


def holding(fits: Callable[[Words], bool]) -> Iterator[Running]:
    """Every process whose command line fits; whoever takes one closes it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and fits(_words(int(entry.name))):
            found = hold(int(entry.name), fits)
            if found:
                yield found


def _words(pid: int) -> Words:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
