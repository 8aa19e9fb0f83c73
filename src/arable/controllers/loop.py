"""Runs the controllers: when nudged, when their time has come, and only while this server is the acting master.

Each round is a piece of work of the store's writer, so it shares its transaction's commit with the requests that wait.
In it the mastership is demanded with the epoch that the round began with: what an old master decided is refused. One
controller's failure is logged and leaves the others alone; its next round is the retry.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta

from arable.controllers.registry import CONTROLLERS, Controller
from arable.domain.errors import CloudError
from arable.runtime.clock import Clock
from arable.runtime.log import milliseconds, tell, units
from arable.runtime.metrics import ControllerFigures, Figures
from arable.store import leases
from arable.store.database import Tx
from arable.store.writer import Writer

log = logging.getLogger(__name__)
_rounds = units("rounds")

TICK = timedelta(seconds=1)


@dataclass(slots=True)
class Loop:
    """`step` does what is due now; `start` does so in a thread of its own.

    `me` names this server, `acting` gives the epoch that it may act with as master; 0: it may not.
    """

    writer: Writer
    clock: Clock
    me: str
    acting: Callable[[], int]
    controllers: Sequence[Controller] = CONTROLLERS
    figures: Figures = field(default_factory=Figures)
    _epoch: int = 0
    _begun: dict[int, float] = field(default_factory=dict)  # rounds that have not ended, since when
    _rounds: int = 0
    _due: dict[str, float] = field(default_factory=dict)
    _nudged: set[str] = field(default_factory=set)
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _closing: bool = False
    _woken: bool = False

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
        for name, future in self.begin():
            _told(name, future, self.figures.controller(name))

    def acts(self) -> Callable[[Tx], None] | None:
        """While this server acts: what refuses, within a transaction, that it goes on when it does not any more."""
        epoch = self.acting()
        return (lambda tx: leases.demand(tx, self.me, epoch)) if epoch else None

    def begin(self) -> list[tuple[str, Future[int]]]:
        """Submit what is due now, by name."""
        epoch = self.acting()
        self.figures.master.acting, self.figures.master.epoch = bool(epoch), epoch
        if not epoch:
            return []
        now = self.clock.monotonic()
        if epoch != self._epoch:
            self._epoch = epoch
            self._due.clear()  # what was nudged elsewhere meanwhile is not known here
        with self._wake:
            nudged, self._nudged = self._nudged, set()
        due = [c for c in self.controllers if c.topic in nudged or now >= self._due.get(c.name, 0)]
        return [(controller.name, self._round(controller, now, epoch)) for controller in due]

    def wake(self) -> None:
        """Look now: this server has become master. From any thread."""
        with self._wake:
            self._woken = True
            self._wake.notify()

    def lag(self) -> float:
        """For how many seconds the oldest round has not ended."""
        begun = list(self._begun.values())
        return self.clock.monotonic() - min(begun) if begun else 0.0

    def _round(self, controller: Controller, now: float, epoch: int) -> Future[int]:
        self._due[controller.name] = now + controller.seconds
        figures = self.figures.controller(controller.name)

        def work(tx: Tx) -> int:
            leases.demand(tx, self.me, epoch)
            began = self.clock.monotonic()
            figures.rounds += 1
            count = controller.run(tx, self.clock.now())
            figures.last = self.clock.monotonic() - began
            figures.seconds += figures.last
            figures.handled += count
            if count >= controller.most and controller.topic:
                self.nudge([controller.topic])
            return count

        number = self._rounds = self._rounds + 1
        self._begun[number] = now
        future = self.writer.submit(work)
        future.add_done_callback(lambda _done: self._begun.pop(number, None))
        return future

    def _run(self) -> None:
        while True:
            with self._wake:
                if not (self._nudged or self._woken or self._closing):
                    self._wake.wait(TICK.total_seconds())
                if self._closing:
                    return
                self._woken = False
            try:
                self.step()
            except Exception:
                log.exception("the controllers' loop failed")


def _told(name: str, future: Future[int], figures: ControllerFigures) -> None:
    try:
        handled = future.result()
    except CloudError as error:
        log.warning("a controller's round: %s %s", error.public, error.detail)
        told = error.public
    except Exception as error:
        log.exception("a controller's round failed")
        told = type(error).__name__
    else:
        figures.row, figures.told = 0, ""
        if handled:
            tell(_rounds, name, handled=handled, ms=milliseconds(figures.last))
        return
    figures.failures += 1
    figures.row += 1
    figures.told = told
