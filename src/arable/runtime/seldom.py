"""What goes on being wrong is told once, then ever more rarely, and once when it is over.

For what is tried again each second for as long as it takes: a line for each try would bury all else in the log.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

FIRST_SECONDS = 60.0
LONGEST_SECONDS = 3600.0
"""Pauses between two words about the same trouble: each twice as long as the one before."""


@dataclass(slots=True)
class _Told:
    since: float
    pause: float
    again: float
    text: str


class Seldom:
    """Lines of one log. `now` is monotonic, in seconds. Any thread may speak."""

    def __init__(self, log: logging.Logger, now: Callable[[], float]) -> None:
        self._log = log
        self._now = now
        self._lock = threading.Lock()
        self._troubles: dict[str, _Told] = {}

    def wrong(self, what: str, text: str) -> None:
        """It is wrong (still). `what` names the trouble; its text may be another each time."""
        with self._lock:
            now = self._now()
            known = self._troubles.get(what)
            if known is None:
                self._troubles[what] = _Told(now, FIRST_SECONDS, now + FIRST_SECONDS, text)
                self._log.warning("%s", text)
            elif now >= known.again:
                known.pause = min(2 * known.pause, LONGEST_SECONDS)
                known.again, known.text = now + known.pause, text
                self._log.warning("%s (for %d s now)", text, now - known.since)

    def over(self, what: str) -> None:
        """It is as it should be. Said when it was not."""
        if what not in self._troubles:  # nearly always, and often asked
            return
        with self._lock:
            known = self._troubles.pop(what, None)
            if known is not None:
                self._log.warning("over after %d s: %s", self._now() - known.since, known.text)
