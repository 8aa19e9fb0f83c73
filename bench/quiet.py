"""Other people's work on the machine is in every figure. Where that can be waited for, it is waited for."""

import time
from pathlib import Path

BUSY = 0.25
"""The share of all cores that may be in use and the machine still counts as quiet."""
_LOOK = 1.0


def busy(seconds: float) -> float:
    """The share of all cores that was in use for so long from now on."""
    used, every = _ticks()
    time.sleep(seconds)
    used_after, every_after = _ticks()
    return (used_after - used) / max(every_after - every, 1)


def await_quiet(within: float) -> bool:
    """Wait until the machine is quiet, but not for ever; whether it is."""
    end = time.monotonic() + within
    while True:
        if busy(_LOOK) <= BUSY:
            return True
        if time.monotonic() >= end:
            return False


def _ticks() -> tuple[int, int]:
    """Of all cores since the start: in use, and in all. Time that another tenant of the hardware took is in use."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = numbers[3] + numbers[4]
    return sum(numbers) - idle, sum(numbers)
