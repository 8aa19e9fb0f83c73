"""Threads that take turns on virtual time: exactly one runs, and who is next is decided by when it asked to go on.

Real code that waits in the middle of a call can then be interleaved with others at its waits and nowhere else, and a
seed replays exactly. A fibre that is killed ends in its wait by `Killed`; a frozen one is not woken before its time.
"""

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from arable.runtime.clock import VirtualClock


class Killed(BaseException):
    """The fibre in which this is raised has to end."""


def _closed() -> threading.Lock:
    """A lock as a signal: it is taken, and opened once for each turn."""
    made = threading.Lock()
    made.acquire()
    return made


@dataclass
class Fibre:
    """One of them. `group` is what is killed and frozen together: a process."""

    body: Callable[[], None]
    group: str
    turn: threading.Lock = field(default_factory=_closed)
    thread: threading.Thread | None = None
    number: int = 0  # of its latest wait: earlier ones in the queue are void
    killed: bool = False
    ended: bool = False


class Fibres:
    """The scheduler. `wait` is called by the fibre that runs, everything else from outside or by it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._queue: list[tuple[float, int, int, Fibre]] = []
        self._order = count()
        self._back = _closed()
        self._frozen: dict[str, float] = {}
        self._all: list[Fibre] = []
        self._error: BaseException | None = None
        self._now: Fibre | None = None

    def start(self, group: str, body: Callable[[], None]) -> Fibre:
        """A new fibre, which begins with its first turn."""
        made = Fibre(body, group)
        self._all.append(made)
        self._later(made, 0.0)
        return made

    def kill(self, group: str) -> None:
        """All of the group end, each at its next turn, which is now."""
        self._frozen.pop(group, None)
        for fibre in self._all:
            if fibre.group == group and not fibre.killed:
                fibre.killed = True
                self._later(fibre, 0.0)
        self._all = [each for each in self._all if not each.ended]

    def freeze(self, group: str, seconds: float) -> None:
        """None of the group has a turn for so long."""
        thaw = self._clock.monotonic() + seconds
        self._frozen[group] = max(thaw, self._frozen.get(group, 0.0))

    def wait(self, seconds: float) -> None:
        """Let the others go on. Raises `Killed`."""
        fibre = self._now
        if fibre is None:
            raise AssertionError("only a fibre waits")
        self._later(fibre, seconds)
        self._back.release()
        fibre.turn.acquire()
        if fibre.killed:
            raise Killed

    def wake(self, fibre: Fibre) -> None:
        """Its wait ends now."""
        self._later(fibre, 0.0)

    def run(self, seconds: float) -> None:
        """Until so much time has passed. Raises what a fibre raised."""
        end = self._clock.monotonic() + seconds
        while self._queue and self._queue[0][0] <= end:
            at, _order, number, fibre = heapq.heappop(self._queue)
            if fibre.ended or number != fibre.number:
                continue
            thaw = self._frozen.get(fibre.group, 0.0)
            if thaw > max(at, self._clock.monotonic()) and not fibre.killed:
                heapq.heappush(self._queue, (thaw, next(self._order), number, fibre))
                continue
            self._until(at)
            self._resume(fibre)
            if self._error is not None:
                error, self._error = self._error, None
                raise error
        self._until(end)

    def close(self) -> None:
        """End them all."""
        for fibre in self._all:
            fibre.killed = True
            if not fibre.ended:
                self._resume(fibre)

    def _resume(self, fibre: Fibre) -> None:
        self._now = fibre
        if fibre.thread is None:
            fibre.thread = threading.Thread(target=self._live, args=(fibre,), daemon=True)
            fibre.thread.start()
        else:
            fibre.turn.release()
        self._back.acquire()
        self._now = None
        if fibre.ended:
            fibre.thread.join()

    def _live(self, fibre: Fibre) -> None:
        try:
            if not fibre.killed:
                fibre.body()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where `run` was called
            self._error = error
        finally:
            fibre.ended = True
            self._back.release()

    def _later(self, fibre: Fibre, seconds: float) -> None:
        fibre.number += 1
        at = self._clock.monotonic() + seconds
        heapq.heappush(self._queue, (at, next(self._order), fibre.number, fibre))

    def _until(self, at: float) -> None:
        left = at - self._clock.monotonic()
        if left > 0:
            self._clock.wait(timedelta(seconds=left))
