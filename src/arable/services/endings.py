"""Tells the log of operations that end, one line each, on a thread of its own: nobody who deploys waits for a log.

It hears of commits (`nudged`), and looks at what they touched; so it never tells what was rolled back, and each
server tells what it committed itself.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from arable.domain.errors import CloudError
from arable.runtime import log
from arable.store.database import Database
from arable.store.ended import ended

_units = log.units("operations")
_log = logging.getLogger(__name__)
_BEGINS = "operation/"  # of their topics
_REMEMBERED = 10_000  # that were told: an operation may be touched twice before it is looked at
_AT_ONCE = 1000


@dataclass(slots=True)
class Endings:
    """Costs nothing where no such line is wanted."""

    database: Database
    server: str
    _waiting: deque[str] = field(default_factory=deque)
    _told: dict[str, None] = field(default_factory=dict)
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _closing: bool = False
    _thread: threading.Thread | None = None

    def nudged(self, topics: Iterable[str]) -> None:
        """From any thread, after each commit."""
        if self._thread is None:
            return
        ids = [topic.removeprefix(_BEGINS) for topic in topics if topic.startswith(_BEGINS)]
        if ids:
            with self._wake:
                self._waiting.extend(ids)
                self._wake.notify()

    def start(self) -> None:
        """Until `stop`, if anybody wants to read it."""
        if _units.isEnabledFor(logging.INFO):
            self._thread = threading.Thread(target=self._run, name="endings", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Tell what waits, then end."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting:
                    if self._closing:
                        return
                    self._wake.wait()
                count = min(len(self._waiting), _AT_ONCE)
                ids = {self._waiting.popleft() for _ in range(count)}
            try:
                self._tell(ids - self._told.keys())
            except CloudError as error:
                _log.warning("operations that ended are not told here: %s", error.public)
            except Exception:  # noqa: BLE001 - it is told
                _log.exception("operations that ended are not told here")

    def _tell(self, ids: set[str]) -> None:
        if not ids:
            return
        with self.database.read() as tx:
            found = ended(tx, ids)
        for each in found:
            self._told[each.id] = None
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
        while len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
