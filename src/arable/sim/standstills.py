"""Processes that stop in the middle of what they do, and go on later with what they knew before.

A process of the world is code that is called, so one that stops is a call that does not return yet: at a place where it
could be stopped (`here`: between two transactions, before and after an effect of a driver, between two questions) the
story goes on without it for a while. It then goes on from just there, its timers long over, its knowledge stale. One
that is killed meanwhile never goes on.

The one that stopped last goes on first. Within a transaction nobody stops: there is one database in memory
(`sim/members.py` has that).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from arable.drivers.faults import Faults

_DEEPEST = 4  # that stand still at once


class Process(Protocol):
    """`life` counts those of its name; `stopped` is the life that stands still, or 0."""

    stopped: int

    @property
    def life(self) -> int: ...
    @property
    def there(self) -> bool: ...


class Died(BaseException):
    """It was killed while it stood still. Not for the code of the product to see."""

    def __init__(self, process: Process) -> None:
        super().__init__("a simulated process is no more")
        self.process = process


@dataclass(frozen=True, slots=True)
class _Call:
    process: Process
    life: int

    @property
    def over(self) -> bool:
        return not self.process.there or self.process.life != self.life


@dataclass(slots=True)
class Standstills:
    """Of one region. `elapse` lets so many seconds pass for everybody else."""

    elapse: Callable[[float], None]
    stops: int = 0
    _places: int = 0  # until somebody stops; 0: nobody will
    _seconds: float = 0.0
    _for: Process | None = None
    _calls: list[_Call | None] = field(default_factory=list)  # None: others go on from here
    _whole: int = 0

    def arm(self, process: Process, places: int, seconds: float) -> None:
        """It stops for so long at the so-manieth place that it comes to."""
        self._for, self._places, self._seconds = process, places, seconds

    def disarm(self) -> None:
        """Nobody stops any more."""
        self._for = None

    @contextmanager
    def within(self, process: Process) -> Iterator[None]:
        """What is called here is done by that process; it ends with its life."""
        call = _Call(process, process.life)
        self._calls.append(call)
        try:
            yield
        except Died as died:
            if died.process is not process:
                raise
        finally:
            self._calls.pop()
        below = self._calls[-1] if self._calls else None
        if below is not None and below.over:
            raise Died(below.process)  # it waited for this one, and was killed

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Nobody stops in here."""
        self._whole += 1
        try:
            yield
        finally:
            self._whole -= 1

    def here(self) -> None:
        """A place at which the process that moves may be stopped."""
        call = self._calls[-1] if self._calls else None
        if call is None or self._whole:
            return
        if call.over:
            raise Died(call.process)
        if call.process is not self._for:
            return
        self._places -= 1
        if self._places <= 0:
            self._for = None
            if self._calls.count(None) < _DEEPEST:
                self._stop(call)

    def _stop(self, call: _Call) -> None:
        self.stops += 1
        waiting = []  # those who asked it, and theirs
        for each in reversed(self._calls):
            if each is None:
                break
            waiting.append(each)
        before = [each.process.stopped for each in waiting]
        for each in waiting:
            each.process.stopped = each.life
        self._calls.append(None)
        try:
            self.elapse(self._seconds)
        finally:
            self._calls.pop()
            for each, was in zip(waiting, before, strict=True):
                each.process.stopped = was
        if call.over:
            raise Died(call.process)


@dataclass
class Places(Faults):
    """A driver's, where its process may be stopped as well."""

    here: Callable[[], None] = lambda: None

    def _point(self, where: str) -> None:
        self.here()
        super()._point(where)
