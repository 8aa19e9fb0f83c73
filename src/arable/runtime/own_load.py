"""What this process uses of its machine: CPU lately, and memory now."""

import os
from pathlib import Path

from arable.runtime.clock import Clock

_STATM = Path("/proc/self/statm")
_OLD = 0.7  # how much of a CPU figure is what it was before: it follows within some seconds


class OwnLoad:
    """Ask about once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._used, self._at = _cpu_seconds(), clock.monotonic()
        self._percent = 0.0

    def cpu_percent(self) -> int:
        """Of one core."""
        used, at = _cpu_seconds(), self._clock.monotonic()
        if at - self._at >= 0.5:
            now = 100 * (used - self._used) / (at - self._at)
            self._percent = _OLD * self._percent + (1 - _OLD) * now
            self._used, self._at = used, at
        return round(self._percent)

    @staticmethod
    def memory_mib() -> int:
        """Resident."""
        pages = int(_STATM.read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def _cpu_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system
