"""Runs the controllers of one server, when nudged and when their time has come: the master's while this server acts as
master, and those of the farms that it holds (`farm_managers.py`).

Each round is a piece of work of the store's writer, so it shares its transaction's commit with the requests that wait.
In a master's round the mastership is demanded with the epoch that the round began with: what an old master decided is
refused. One controller's failure is logged and leaves the others alone; its next round is the retry.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta

from arable.controllers.farm_managers import FarmManagers
from arable.controllers.registry import CONTROLLERS, FARM_CONTROLLERS, Controller, FarmController
from arable.controllers.underway import Underway
from arable.domain.errors import CloudError
from arable.domain.ids import FarmId, SegmentId
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy
from arable.runtime.log import milliseconds, tell, units
from arable.runtime.metrics import ControllerFigures, Figures
from arable.runtime.rounds import Rounds
from arable.store import leases
from arable.store.database import Tx
from arable.store.writer import Writer

log = logging.getLogger(__name__)
_rounds = units("rounds")

TICK = timedelta(seconds=1)
_AT_LEAST = 0.01  # seconds between two looks that nobody nudged


@dataclass(slots=True)
class Loop:
    """`step` does what is due now; `start` does so in a thread of its own.

    `me` names this server; `acting` gives the epoch that it may act with as master, `serving` for the farms that it
    holds. 0: it may not. Of `entropy` comes what keeps servers from trying again at the same moment.
    """

    writer: Writer
    clock: Clock
    me: str
    acting: Callable[[], int]
    controllers: Sequence[Controller] = CONTROLLERS
    figures: Figures = field(default_factory=Figures)
    serving: Callable[[], int] = lambda: 0
    entropy: Entropy = field(default_factory=lambda: Entropy("farms"))
    farm_controllers: Sequence[FarmController] = FARM_CONTROLLERS
    managers: FarmManagers = field(init=False)
    _underway: Underway = field(init=False)
    _topics: frozenset[str] = field(init=False)
    _epoch: int = 0
    _due: dict[str, float] = field(default_factory=dict)
    _nudged: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rounds: Rounds = field(init=False)
    _held: bool = False

    def __post_init__(self) -> None:
        self._rounds = Rounds("controllers", self.step, self._pause, "the controllers' loop", log)
        self._underway = Underway(self.writer, self.clock)
        self.managers = FarmManagers(
            self._underway,
            self.clock,
            self.entropy.random,
            SegmentId(self.me),
            self.serving,
            self.figures,
            self.farm_controllers,
        )
        self._topics = self.managers.topics | {each.topic for each in self.controllers}

    def nudge(self, topics: Iterable[str]) -> None:
        """Look again soon; from any thread."""
        ours = self._topics.intersection(topics)
        if not ours:
            return
        with self._lock:
            known = ours <= self._nudged
            self._nudged |= ours
        if not known:
            self._rounds.nudge()

    def start(self) -> None:
        """Run until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Finish the round that runs, then end."""
        self._rounds.stop()

    def step(self) -> None:
        """One look at what is due. The writer must run in a thread of its own, or be run by `finish`."""
        for end in self.begin():
            end()

    def acts(self) -> Callable[[Tx], None] | None:
        """While this server acts: what refuses, within a transaction, that it goes on when it does not any more."""
        epoch = self.acting()
        return (lambda tx: leases.demand(tx, self.me, epoch)) if epoch else None

    def holds(self, tx: Tx, farms: Collection[FarmId]) -> Collection[FarmId]:
        """Those of these farms that this server may act for, held until the end of the transaction."""
        return self.managers.holds(tx, farms)

    def begin(self) -> list[Callable[[], None]]:
        """Submit what is due now, the master's work first; how to end each, in this order."""
        with self._lock:
            nudged, self._nudged = self._nudged, set()
            held, self._held = self._held, False
        if held:
            self.managers.look()
        return self._begin_as_master(nudged) + self.managers.begin(nudged)

    def _begin_as_master(self, nudged: Collection[str]) -> list[Callable[[], None]]:
        epoch = self.acting()
        self.figures.master.acting, self.figures.master.epoch = bool(epoch), epoch
        if not epoch:
            return []
        now = self.clock.monotonic()
        if epoch != self._epoch:
            self._epoch = epoch
            self._due.clear()  # what was nudged elsewhere meanwhile is not known here
        due = [c for c in self.controllers if c.topic in nudged or now >= self._due.get(c.name, 0)]
        return [self._round(controller, now, epoch) for controller in due]

    def wake(self, *, held: bool = False) -> None:
        """Look now: this server has become master, or (`held`) there is something new about its farms. From any thread."""
        with self._lock:
            self._held |= held
        self._rounds.nudge()

    def lag(self) -> float:
        """For how many seconds the oldest round has not ended."""
        return self._underway.lag()

    def _round(self, controller: Controller, now: float, epoch: int) -> Callable[[], None]:
        self._due[controller.name] = now + controller.seconds
        figures = self.figures.controller(controller.name)

        def work(tx: Tx) -> int:
            leases.demand(tx, self.me, epoch)
            with self._underway.round(figures):
                count = controller.run(tx, self.clock.now())
            figures.handled += count
            if count >= controller.most and controller.topic:
                self.nudge([controller.topic])
            return count

        future = self._underway.submit(work)
        return lambda: _told(controller.name, future, figures)

    def _pause(self) -> float:
        return self.managers.wait(TICK.total_seconds()) or _AT_LEAST


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
