"""Waiting for what is certain to come, on a machine whose speed is not: by looking, with a generous end."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from arable.runtime.clock import RealClock

Found = TypeVar("Found")

_STEP = timedelta(milliseconds=100)


def until(look: Callable[[], Found | None], what: str, seconds: float = 120) -> Found:
    """What `look` finds when it finds something; fails, naming `what`, when it never does."""
    clock = RealClock()
    end = clock.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert clock.monotonic() < end, f"waited {seconds:g} s in vain: {what}"
        clock.wait(_STEP)


def settled(look: Callable[[], object], wanted: object, seconds: float = 120) -> None:
    """Return when `look` says `wanted`; fails with what it said last."""
    clock = RealClock()
    end = clock.monotonic() + seconds
    while (seen := look()) != wanted and clock.monotonic() < end:
        clock.wait(_STEP)
    assert seen == wanted
