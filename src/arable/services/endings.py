"""Tells the log of operations that end, one line each, on a thread of its own: nobody who deploys waits for a log.

It hears from commits what they ended (`nudged`), and looks at that; so it never tells what was rolled back. An operation
is ended by one transaction, and told by the server that committed it: what others only see ended is not theirs to tell.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from arable.domain.errors import CloudError
from arable.runtime import log
from arable.runtime.rounds import Rounds
from arable.store.database import Database
from arable.store.ended import Ended, ended

_units = log.units("operations")
_log = logging.getLogger(__name__)
_AT_ONCE = 1000
_AGAIN = 1.0  # seconds until a store that did not answer is asked again


@dataclass(slots=True)
class Endings:
    """Costs nothing where no such line is wanted. `tell` is given each one; None: the log is."""

    database: Database
    server: str
    tell: Callable[[Ended], None] | None = None
    listening: bool = False
    _waiting: deque[str] = field(default_factory=deque)
    _rounds: Rounds = field(init=False)

    def __post_init__(self) -> None:
        trouble = "operations that ended are not told here"
        self._rounds = Rounds("endings", self.step, self._pause, trouble, _log)

    @property
    def waiting(self) -> int:
        """How many are still to be told."""
        return len(self._waiting)

    def nudged(self, operations: Iterable[str]) -> None:
        """A commit ended these; from any thread."""
        if not self.listening:
            return
        ids = list(operations)
        if ids:
            self._waiting.extend(ids)
            self._rounds.nudge()

    def start(self) -> None:
        """Until `stop`, if anybody wants to read it."""
        if _units.isEnabledFor(logging.INFO):
            self.listening = True
            self._rounds.start()

    def stop(self) -> None:
        """Tell what waits, then end."""
        self._rounds.stop()
        self.step()

    def step(self) -> bool:
        """Tell of those that wait. False when the store did not answer: they wait on."""
        while self._waiting:
            count = min(len(self._waiting), _AT_ONCE)
            ids = [self._waiting.popleft() for _ in range(count)]
            try:
                self._tell(ids)
            except CloudError as error:
                _log.warning("operations that ended are not told here yet: %s", error.public)
                self._waiting.extendleft(reversed(ids))
                return False
            except Exception:  # noqa: BLE001 - it is told
                _log.exception("operations that ended are not told here")
        return True

    def _pause(self) -> float | None:
        return _AGAIN if self._waiting else None

    def _tell(self, ids: Iterable[str]) -> None:
        with self.database.read() as tx:
            found = ended(tx, ids)
        for each in found:
            (self.tell or self._line)(each)

    def _line(self, each: Ended) -> None:
        log.tell(
            _units,
            f"{each.kind} {each.state}",
            operation=each.id,
            server=self.server,
            account=each.account,
            target=each.target,
            parts=each.total,
            ms=log.milliseconds((each.changed_at - each.created_at).total_seconds()),
        )
