"""The farm managers of one server: what there is to do for the farms that it holds, while it holds them.

A farm manager is neither a thread nor an object. It is what a round does for one farm; a round does it for all farms
with work at once, because a thousand farms' machines placed together cost little more than one's. What it may do is
decided where it writes (rule 5): in the round's transaction our right to act is demanded, and the farms' rows are held,
so nobody gives them to another server before it is over. Nothing is carried from one round to the next.

A farm whose work fails harms no other. A round that failed is tried again in halves until the farm is found that makes
it fail; that one is left out from then on and tried alone, ever less often, up to minutes apart (`pause`), until it
works. A round that takes far too long is told of, and its farms are tried one by one for the same reason. What is wrong
with which farm stands in the store (`store/troubles.py`): operators see it, and whoever holds the farm next begins
with it.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from arable.controllers.registry import FARM_CONTROLLERS, FarmController
from arable.controllers.underway import STALLED, Underway
from arable.domain.errors import CloudError, Conflict, Unavailable
from arable.domain.ids import FarmId, SegmentId
from arable.runtime.clock import Clock
from arable.runtime.entropy import Random
from arable.runtime.log import milliseconds, tell, units
from arable.runtime.metrics import Figures
from arable.store import holdings, segments, troubles
from arable.store.database import Tx, lost_race

log = logging.getLogger(__name__)
_rounds = units("rounds")

AGAIN = 1.0
"""Seconds before a farm that failed is tried again; each further time twice as long, up to `SELDOM`."""
SELDOM = 300.0
_SOON = 0.2  # seconds until we look again for what somebody held
_TAKE_UP = 5.0  # seconds between looks at what we hold; a farm that is given nudges
_HOLDINGS = "holdings"  # the name of these looks


def pause(tries: int) -> float:
    """Seconds to wait after so many failures in a row, give or take a quarter."""
    return min(AGAIN * 2.0 ** (min(tries, 20) - 1), SELDOM)


@dataclass(frozen=True, slots=True)
class _Failing:
    """A farm that is left out: how often it was tried, and when it is again, by our monotonic clock."""

    tries: int
    due: float


@dataclass(slots=True)
class _Round:
    """One controller's round for some farms, which are known once it has begun."""

    controller: FarmController
    epoch: int
    future: "Future[int]" = field(default_factory=Future)
    farms: Sequence[FarmId] = ()
    left: bool = False  # somebody held farms of ours at this moment
    took: float = 0.0


@dataclass(slots=True)
class FarmManagers:
    """`serving` gives the epoch by which this server may act for its farms; 0: it may not. One thread calls all but
    `holds`.
    """

    underway: Underway
    clock: Clock
    random: Random
    me: SegmentId
    serving: Callable[[], int]
    figures: Figures
    controllers: Sequence[FarmController] = FARM_CONTROLLERS
    _epoch: int = 0
    _due: dict[str, float] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)  # nudged, and from when on it may begin
    _rested: dict[str, float] = field(default_factory=dict)  # when it has rested from its last one
    _failing: dict[FarmId, _Failing] = field(default_factory=dict)
    _slow: set[FarmId] = field(
        default_factory=set
    )  # of a round that took too long: each alone next

    @property
    def topics(self) -> frozenset[str]:
        """What nudges them."""
        return frozenset({holdings.TOPIC, *(each.topic for each in self.controllers)})

    def holds(self, tx: Tx, farms: Collection[FarmId]) -> Collection[FarmId]:
        """Those of these farms that we may act for, held until the end of the transaction. From the writer's thread."""
        epoch = self.serving()
        if not epoch or not farms:
            return ()
        try:
            segments.demand(tx, self.me, epoch)
        except Conflict:
            return ()
        return holdings.hold(tx, self.me, farms)

    def look(self) -> None:
        """Do everything at the next step: what is ours may have changed."""
        self._due.clear()

    def wait(self, most: float) -> float:
        """Seconds until something is due, `most` at most."""
        if not self.serving():
            return most
        due = min((*self._due.values(), *self._asked.values()), default=0.0)
        due -= self.clock.monotonic()
        return min(max(due, 0.0), most)

    def begin(self, nudged: Collection[str]) -> list[Callable[[], None]]:
        """Submit what is due; how to end each, in this order."""
        epoch, now = self.serving(), self.clock.monotonic()
        if not epoch:
            return []
        if epoch != self._epoch:
            self._epoch = epoch
            self.look()
        begun: list[Callable[[], None]] = []
        if holdings.TOPIC in nudged or now >= self._due.get(_HOLDINGS, 0.0):
            self._due[_HOLDINGS] = now + _TAKE_UP
            begun.append(self._take_up(epoch))
        for each in self.controllers:
            if each.topic in nudged:
                self._asked[each.name] = self._rested.get(each.name, 0.0)
            if now >= min(self._due.get(each.name, 0.0), self._asked.get(each.name, math.inf)):
                self._asked.pop(each.name, None)
                self._due[each.name] = now + each.seconds
                begun.append(self._round(each, epoch))
        due = {farm for farm, failing in self._failing.items() if now >= failing.due}
        begun += [self._alone(farm, epoch) for farm in sorted(due | self._slow)]
        return begun

    # --- what we hold

    def _take_up(self, epoch: int) -> Callable[[], None]:
        def work(tx: Tx) -> tuple[int, int, Mapping[FarmId, int]]:
            segments.demand(tx, self.me, epoch)
            fresh = holdings.confirm(tx, self.me)
            return fresh, holdings.count(tx, self.me), troubles.of(tx, self.me)

        future = self.underway.submit(work)
        return lambda: self._taken_up(future)

    def _taken_up(self, future: "Future[tuple[int, int, Mapping[FarmId, int]]]") -> None:
        try:
            fresh, count, known = future.result()
        except CloudError as error:
            log.warning("which farms are ours: %s %s", error.public, error.detail)
            return
        now = self.clock.monotonic()
        before, self._failing = self._failing, {}
        for farm, tries in known.items():  # those of a holder before us among them
            self._failing[farm] = before.get(farm) or _Failing(tries, now + self._pause(tries))
        self.figures.farms.held, self.figures.farms.failing = count, len(known)
        if fresh:
            log.info("%d farms are ours now", fresh)
            for each in self.controllers:
                self._due[each.name] = now

    # --- rounds

    def _round(self, controller: FarmController, epoch: int) -> Callable[[], None]:
        """All that have something to do, but those that are tried alone."""

        def wanting(tx: Tx) -> Sequence[FarmId]:
            found = controller.wanting(tx, self.me, self.clock.now())
            return [each for each in found if each not in self._failing and each not in self._slow]

        made = self._submitted(controller, epoch, wanting)
        return lambda: self._ended(made)

    def _submitted(
        self, controller: FarmController, epoch: int, wanting: Callable[[Tx], Sequence[FarmId]]
    ) -> _Round:
        made = _Round(controller, epoch)
        figures = self.figures.controller(controller.name)

        def work(tx: Tx) -> int:
            made.farms = ()
            segments.demand(tx, self.me, epoch)
            wanted = wanting(tx)
            held = holdings.hold(tx, self.me, wanted) if wanted else []
            made.left = len(held) < len(wanted)
            if not held:
                return 0
            made.farms = held  # what fails from here on may be one's of them
            with self.underway.round(figures, _named(held)):
                count = controller.run(tx, self.clock.now(), held)
            made.took = figures.last
            figures.handled += count
            return count

        made.future = self.underway.submit(work)
        return made

    def _ended(self, made: _Round) -> None:
        error = made.future.exception()
        if error is not None:  # whatever it is, the others go on
            self._find(made, error)
            return
        self._succeeded(made, made.future.result())
        if made.took > STALLED:
            self._told_slow(made)
            self._slow.update(made.farms)

    def _succeeded(self, made: _Round, handled: int) -> None:
        controller = made.controller
        figures = self.figures.controller(controller.name)
        figures.row, figures.told = 0, ""
        if handled:
            facts = {"farms": len(made.farms), "handled": handled}
            tell(_rounds, controller.name, **facts, ms=milliseconds(made.took))
        self._rested[controller.name] = self.clock.monotonic() + controller.rests * made.took
        if handled >= controller.most:
            self._due[controller.name] = 0.0
        elif made.left:
            self._due[controller.name] = self.clock.monotonic() + _SOON

    def _find(self, made: _Round, error: BaseException) -> None:
        """It failed: nobody's fault, or that of one of its farms, which is found by trying halves."""
        controller, farms = made.controller, made.farms
        if not farms or not self._their_fault(error):
            self._failed(controller, error)
            self._due[controller.name] = self.clock.monotonic() + (
                _SOON if lost_race(error) else AGAIN
            )
        elif len(farms) == 1:
            self._trouble(farms[0], made.epoch, [_said(controller, error)])
        else:
            middle = len(farms) // 2
            for half in (farms[:middle], farms[middle:]):
                self._ended(self._submitted(controller, made.epoch, _only(half)))

    def _their_fault(self, error: BaseException) -> bool:
        """Not if a race for rows was lost, or the store does not answer anybody."""
        if lost_race(error):
            return False
        if not isinstance(error, Unavailable):
            return True
        try:
            self.underway.submit(lambda _tx: None).result()
        except CloudError:
            return False
        return True

    def _failed(self, controller: FarmController, error: BaseException) -> None:
        figures = self.figures.controller(controller.name)
        figures.failures += 1
        figures.row += 1
        figures.told = _public(error)
        if isinstance(error, CloudError):
            log.warning("a round of %s: %s %s", controller.name, error.public, error.detail)
        else:
            log.error("a round of %s failed", controller.name, exc_info=error)

    # --- a farm alone

    def _alone(self, farm: FarmId, epoch: int) -> Callable[[], None]:
        """All that is to be done for a farm that failed, or may have been what was slow."""
        rounds = [self._submitted(each, epoch, _only([farm])) for each in self.controllers]
        return lambda: self._alone_ended(farm, epoch, rounds)

    def _alone_ended(self, farm: FarmId, epoch: int, rounds: Iterable[_Round]) -> None:
        told: list[str] = []
        held = False
        for made in rounds:
            error = made.future.exception()
            if error is None:
                held |= bool(made.farms)
                self._succeeded(made, made.future.result())
            elif made.farms and self._their_fault(error):
                told.append(_said(made.controller, error))
                continue
            else:
                self._failed(made.controller, error)
                return  # it is due as before
            if made.took > STALLED:
                self._told_slow(made)
                told.append(f"{made.controller.name}: took {made.took:.0f} seconds")
        self._slow.discard(farm)
        if told:
            self._trouble(farm, epoch, told)
        elif held:
            self._recovered(farm, epoch)
        else:  # somebody holds its row, or it is no longer ours: the next look at what we hold tells
            self._backed_off(farm)

    def _trouble(self, farm: FarmId, epoch: int, told: Sequence[str]) -> None:
        failing = self._backed_off(farm, more=1)
        text = "; ".join(told)
        log.warning("the work of %s fails, %d times now: %s", farm, failing.tries, text)
        at = self.clock.now()

        def note(tx: Tx) -> bool:
            segments.demand(tx, self.me, epoch)
            if not holdings.hold(tx, self.me, [farm]):
                return False
            troubles.note(tx, farm, self.me, failing.tries, text, at)
            return True

        if not self._kept(note):
            log.warning("that %s fails could not be kept", farm)

    def _recovered(self, farm: FarmId, epoch: int) -> None:
        if farm not in self._failing:
            return

        def over(tx: Tx) -> bool:
            segments.demand(tx, self.me, epoch)
            if not holdings.hold(tx, self.me, [farm]):
                return False
            troubles.over(tx, farm)
            return True

        if self._kept(over):
            del self._failing[farm]
            log.info("the work of %s goes on", farm)

    def _backed_off(self, farm: FarmId, more: int = 0) -> _Failing:
        known = self._failing.get(farm)
        tries = (known.tries if known else 0) + more
        due = self.clock.monotonic() + self._pause(max(tries, 1))
        self._failing[farm] = _Failing(tries, due)
        return self._failing[farm]

    def _kept(self, work: Callable[[Tx], bool]) -> bool:
        try:
            return self.underway.submit(work).result()
        except CloudError as error:
            log.warning("a farm's trouble: %s %s", error.public, error.detail)
            return False

    def _pause(self, tries: int) -> float:
        return pause(tries) * self.random.uniform(0.75, 1.25)

    def _told_slow(self, made: _Round) -> None:
        log.warning(
            "a round of %s took %.1f seconds: %s",
            made.controller.name,
            made.took,
            _named(made.farms),
        )


def _only(farms: Sequence[FarmId]) -> Callable[[Tx], Sequence[FarmId]]:
    return lambda _tx: farms


def _said(controller: FarmController, error: BaseException) -> str:
    if not isinstance(error, CloudError):
        log.error("a round of %s failed", controller.name, exc_info=error)
    return f"{controller.name}: {_public(error)}"


def _public(error: BaseException) -> str:
    return error.public if isinstance(error, CloudError) else type(error).__name__


def _named(farms: Sequence[FarmId]) -> str:
    return farms[0] if len(farms) == 1 else f"{len(farms)} farms"
