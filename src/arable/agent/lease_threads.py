"""The threads of a host's leases: on a compute host one for each storage host and one for guests that move, on a
storage host one that looks after disks.

Threads and not tasks of an event loop: a renewal must not wait behind whatever else this process is doing.
"""

import logging
import math
import threading
from collections.abc import Callable
from functools import partial

from arable.agent.leases import LeaseKeeper
from arable.agent.moves import Mover
from arable.agent.watch import Watch
from arable.domain.errors import CloudError
from arable.domain.manifest import SharedFrom
from arable.drivers.storage.protocol import Shares
from arable.runtime.boottime import BootTime
from arable.runtime.clock import Clock
from arable.runtime.seldom import Seldom

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_DISKS = "disks"


class KeeperThreads:
    """Ask when it is time, and see that there is a watchdog once there are leases, until closed."""

    def __init__(self, keeper: LeaseKeeper, watch: Watch, time: BootTime) -> None:
        self._keeper = keeper
        self._watch = watch
        self._time = time
        self._leaving = threading.Event()
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._bells: dict[SharedFrom, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        keeper.changed = self.ring

    def start(self) -> None:
        """Begin."""
        self._run(self._see_to_watchdog, "watchdog")
        self.ring()

    def ring(self) -> None:
        """There may be something to ask now, or somebody new to ask."""
        with self._lock:
            for place in self._keeper.places() - self._bells.keys():
                bell = self._bells[place] = threading.Event()
                self._run(partial(self._attend, place, bell), place.host)
            for bell in self._bells.values():
                bell.set()
        if self._bells:
            self._wanted.set()

    def close(self) -> None:
        """End; leases are kept, and what runs goes on until their time is over."""
        self._leaving.set()
        self._wanted.set()
        with self._lock:
            for bell in self._bells.values():
                bell.set()
        self._keeper.close()
        for thread in self._threads:
            thread.join(_LOOK_SECONDS)

    def _run(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=f"leases: {name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _attend(self, place: SharedFrom, bell: threading.Event) -> None:
        while not self._leaving.is_set():
            left = self._keeper.due(place) - self._time.now()
            if left <= 0:
                self._keeper.step(place)
                continue
            bell.wait(None if math.isinf(left) else left)
            bell.clear()

    def _see_to_watchdog(self) -> None:
        self._wanted.wait()
        while not self._leaving.is_set():
            try:
                self._watch.ensure()
            except OSError as error:
                log.warning("no watchdog can be started: %s", error)
            self._leaving.wait(_LOOK_SECONDS)


class MoverThread:
    """Looks after guests that go to other hosts or come from them, until closed. Without any it sleeps."""

    def __init__(self, mover: Mover, clock: Clock) -> None:
        self._mover = mover
        self._clock = clock
        self._leaving = False
        self._bell = threading.Event()
        self._thread = threading.Thread(target=self._attend, name="moves", daemon=True)
        mover.changed = self._bell.set

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; what is under way goes on, and stands still at its end until somebody looks after it again."""
        self._leaving = True
        self._bell.set()
        self._thread.join(2 * _LOOK_SECONDS)

    def _attend(self) -> None:
        while not self._leaving:
            left = self._mover.due() - self._clock.monotonic()
            if left <= 0:
                self._mover.step()
                continue
            self._bell.wait(None if math.isinf(left) else left)
            self._bell.clear()


class TendingThread:
    """Brings back servers of disks that went away, and ends leases whose time is over, until closed."""

    def __init__(self, pool: Shares, time: BootTime) -> None:
        self._pool = pool
        self._troubles = Seldom(log, time.now)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._tend, name="shared disks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; what is served is served on."""
        self._leaving.set()
        self._thread.join(2 * _LOOK_SECONDS)

    def _tend(self) -> None:
        while not self._leaving.is_set():
            try:
                self._pool.leases.tend()
                self._troubles.over(_DISKS)
            except CloudError as error:
                self._troubles.wrong(_DISKS, f"shared disks: {error.public} {error.detail}")
                self._leaving.wait(_LOOK_SECONDS)
            self._pool.await_trouble(_LOOK_SECONDS)
