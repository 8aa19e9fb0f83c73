"""That a watchdog works on this host: seen by its heartbeat, started when there is none, replaced when it stands still.

It is no child that ends with us: it must go on when we don't. One that an administrator runs by themselves
(`arable watchdog`) is as good.
"""

import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from arable.drivers import processes
from arable.drivers.processes import Words
from arable.runtime.boottime import BootTime

log = logging.getLogger(__name__)

FOLDER = "watch"
FRESH_SECONDS = 2.0
STUCK_SECONDS = 5.0


class Watch:
    """The watchdog over `directory`. `command` starts one, with the directory as its last word."""

    def __init__(self, directory: Path, command: Sequence[str], time: BootTime) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory.resolve()
        self._command = [*command, str(self._directory)]
        self._time = time
        self._child = 0
        self._since = time.now()

    def alive(self) -> bool:
        """Whether it looked just now."""
        return self._time.now() - self._beat()[1] < FRESH_SECONDS

    def ensure(self) -> None:
        """Have one, soon. Say it again every second or so."""
        if self._child and os.waitpid(self._child, os.WNOHANG)[0]:
            self._child = 0
        if self.alive():
            self._since = self._time.now()
            return
        if self._time.now() - self._since > STUCK_SECONDS:
            self._end(self._beat()[0])
            self._since = self._time.now()
        if not self._child:
            self._start()

    def _start(self) -> None:
        # Not by `subprocess`, which would look after it. One too many leaves at once: the directory is locked.
        said = str(self._directory / "watchdog.log")
        self._child = os.posix_spawnp(
            self._command[0],
            self._command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        log.info("a watchdog was started")

    def _end(self, pid: int) -> None:
        """One that stands still keeps the lock and watches nothing."""
        home = str(self._directory).encode()

        def fits(words: Words) -> bool:
            return home in words and any(b"watchdog" in word for word in words)

        found = processes.hold(pid, fits) if pid else None
        if found:
            log.error("the watchdog stands still and is replaced")
            signal.pidfd_send_signal(found.handle, signal.SIGKILL)
            found.close()

    def _beat(self) -> tuple[int, float]:
        """Its process and when it looked last; zeros when that was never."""
        try:
            opened = os.open(self._directory / "watchdog.beat", os.O_RDONLY)
        except FileNotFoundError:
            return 0, 0.0
        try:
            pid, at = os.read(opened, 64).split()
            return int(pid), float(at)
        except ValueError:
            return 0, 0.0
        finally:
            os.close(opened)
