"""Runs the controllers: when nudged, when their time has come, and only while this server holds the lease to act.

Each round is a piece of work of the store's writer, so it shares its transaction's commit with the requests that wait.
One controller's failure is logged and leaves the others alone; its next round is the retry.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta

from arable.cluster.lease import LENGTH, Lease, Step, claimed, decide
from arable.controllers.registry import CONTROLLERS, Controller
from arable.domain.errors import CloudError
from arable.runtime.clock import Clock
from arable.store import leases
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.writer import Writer

log = logging.getLogger(__name__)

LEASE = "region"
TICK = timedelta(seconds=1)


@dataclass(slots=True)
class Loop:
    """`step` does what is due now; `start` does so in a thread of its own. `me` names this server."""

    writer: Writer
    clock: Clock
    me: str
    controllers: Sequence[Controller] = CONTROLLERS
    _lease: Lease | None = None
    _renew_at: float = 0.0  # monotonic: no clock that is set can make a lease look longer
    _due: dict[str, float] = field(default_factory=dict)
    _nudged: set[str] = field(default_factory=set)
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _closing: bool = False

    def nudge(self, topics: Iterable[str]) -> None:
        """Look again soon; from any thread."""
        with self._wake:
            before = len(self._nudged)
            self._nudged.update(topics)
            if len(self._nudged) > before:
                self._wake.notify()

    def start(self) -> None:
        """Run until `stop`."""
        self._thread = threading.Thread(target=self._run, name="controllers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the round that runs, then end."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread:
            self._thread.join()

    def step(self) -> None:
        """One look at what is due. The writer must run in a thread of its own, or be run by `finish`."""
        for future in self.begin():
            _told(future)

    def begin(self) -> list[Future[int]]:
        """Submit what is due now."""
        if not self._leads():
            return []
        now = self.clock.monotonic()
        with self._wake:
            nudged, self._nudged = self._nudged, set()
        due = [c for c in self.controllers if c.topic in nudged or now >= self._due.get(c.name, 0)]
        return [self._round(controller, now) for controller in due]

    def _round(self, controller: Controller, now: float) -> Future[int]:
        self._due[controller.name] = now + controller.seconds
        lease = self._lease

        def work(tx: Tx) -> int:
            if lease is not None:
                leases.demand(tx, lease.name, lease.holder, lease.epoch)
            count = controller.run(tx, self.clock.now())
            if count >= controller.most and controller.topic:
                self.nudge([controller.topic])
            return count

        return self.writer.submit(work)

    def _leads(self) -> bool:
        """Hold, take or renew the lease. What was decided on a lease that ended is refused by `demand`."""
        now = self.clock.monotonic()
        if self._lease is not None and now < self._renew_at:
            return True
        try:
            self._lease = self.writer.submit(self._renew).result()
            self._renew_at = now + LENGTH.total_seconds() / 2
        except CloudError as error:
            log.warning("no lease: %s", error.public)
            self._lease = None
        return self._lease is not None

    def _renew(self, tx: Tx) -> Lease | None:
        now = leases.now(tx, self.clock.now())
        row = leases.get(tx, LEASE)
        lease = Lease(LEASE, *row) if row else None
        match decide(self.me, lease, now):
            case Step.FOLLOW | Step.STAND_DOWN:
                return None
            case Step.RENEW if lease is not None and self._lease is not None:
                wanted = Lease(LEASE, self.me, lease.epoch, now + LENGTH)
            case _:
                wanted = claimed(self.me, lease, LEASE, now)
        if not leases.put(tx, LEASE, self.me, wanted.epoch, micros(wanted.until)):
            return None
        return wanted

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._nudged and not self._closing:
                    self._wake.wait(TICK.total_seconds())
                if self._closing:
                    return
            try:
                self.step()
            except Exception:
                log.exception("the controllers' loop failed")


def _told(future: Future[int]) -> None:
    try:
        future.result()
    except CloudError as error:
        log.warning("a controller's round: %s %s", error.public, error.detail)
    except Exception:
        log.exception("a controller's round failed")
