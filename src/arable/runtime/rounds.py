"""A thread that does its work again and again: soon after it was nudged, and when its time has come."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from arable.domain.errors import CloudError


@dataclass(slots=True)
class Rounds:
    """Calls `work` after each `nudge`, and at the latest `pause()` seconds after the round before (None: never).

    Nudges that come during a round make one more round together. A round that fails is logged as `trouble`, and the
    next one is the retry.
    """

    name: str
    work: Callable[[], object]
    pause: Callable[[], float | None]
    trouble: str
    log: logging.Logger
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _nudged: bool = False
    _closing: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Run until `stop`."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return self._thread is not None

    @property
    def closing(self) -> bool:
        """Whether `stop` was called: a long round may end early."""
        return self._closing

    def nudge(self) -> None:
        """There is something new to do; from any thread, and before `start` too."""
        with self._wake:
            self._nudged = True
            self._wake.notify()

    def stop(self) -> None:
        """Finish the round that runs, then end."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread:
            self._thread.join()

    def round(self) -> None:
        """One round, on this thread."""
        try:
            self.work()
        except CloudError as error:
            self.log.warning("%s: %s", self.trouble, error.public)
        except Exception:
            self.log.exception("%s", self.trouble)

    def _run(self) -> None:
        while True:
            with self._wake:
                if not (self._nudged or self._closing):
                    self._wake.wait(self.pause())
                if self._closing:
                    return
                self._nudged = False
            self.round()
