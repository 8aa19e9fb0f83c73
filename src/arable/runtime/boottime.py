"""Seconds since this machine was started, the time by which leases of disks end.

It is one clock for all processes of a machine and goes on while the machine sleeps, which `Clock.monotonic` promises
neither of. Two machines' readings mean nothing to each other: between them only spans are told.
"""

import time
from typing import Protocol

from arable.runtime.clock import Clock


class BootTime(Protocol):
    """Tells it."""

    def now(self) -> float:
        """Seconds; never set, and never back."""


class KernelBootTime:
    """The machine's own."""

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClockBootTime:
    """That of a machine in a simulated world; `fast` is how much faster than others' its clock goes."""

    def __init__(self, clock: Clock, fast: float = 1.0) -> None:
        self._clock = clock
        self._fast = fast

    def now(self) -> float:
        return self._clock.monotonic() * self._fast
