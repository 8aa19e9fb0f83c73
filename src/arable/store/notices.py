"""Nudges between servers that share a PostgreSQL, by its NOTIFY: told at the commit, lost by a rollback.

What one server commits concerns hosts whose channels are at another, and controllers that run there. Without this they
would notice by their timers. A notice carries no truth, as a nudge carries none: while the connection that listens is
being made again, what is missed costs time and nothing else.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from arable.store.database import Database, Tx
from arable.store.nudges import Nudges

log = logging.getLogger(__name__)

_CHANNEL = "arable_nudges"
_MOST = 7000  # bytes of names in a notice, which may have 8,000
_LOOK = 1.0  # seconds between looks whether to end
_AGAIN = 2.0  # seconds between connections that failed
_NOTIFY = select(func.pg_notify(_CHANNEL, bindparam("told")))


class _Notice(msgspec.Struct, frozen=True, array_like=True):
    by: str
    topics: list[str]
    hosts: list[str]


def tell(tx: Tx, by: str, nudges: Nudges) -> None:
    """All servers but `by` hear of this once the transaction is durable. Nothing on SQLite, which has one server."""
    if tx.dialect.name == "sqlite" or not (nudges.topics or nudges.hosts):
        return
    tx.execute(_NOTIFY, [{"told": told} for told in _told(by, nudges)])


def _told(by: str, nudges: Nudges) -> Iterator[str]:
    """As many notices as it takes: each operation is a topic, and a commit may end thousands."""
    topics: list[str] = []
    hosts: list[str] = []
    size = 0
    names = [(topics, name) for name in sorted(nudges.topics)]
    names += [(hosts, name) for name in sorted(nudges.hosts)]
    for into, name in names:
        if size + len(name) + 3 > _MOST:
            yield msgspec.json.encode(_Notice(by, topics, hosts)).decode()
            topics.clear()
            hosts.clear()
            size = 0
        into.append(name)
        size += len(name) + 3  # quotes and comma
    yield msgspec.json.encode(_Notice(by, topics, hosts)).decode()


@dataclass(slots=True)
class Listener:
    """Hands what other servers told to `heard`, on a thread of its own, from `start` to `stop`."""

    database: Database
    me: str
    heard: Callable[[Nudges], None]
    listening: threading.Event = field(default_factory=threading.Event)
    _closing: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; nothing to do on SQLite."""
        if not self.database.is_sqlite:
            self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Hang up."""
        self._closing.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        from psycopg import Error  # late: SQLite is spared it

        while not self._closing.is_set():
            try:
                self._listen()
            except (SQLAlchemyError, Error, OSError) as error:
                log.warning("not listening to other servers: %s", type(error).__name__)
            except Exception:
                log.exception("listening to other servers failed")
            self.listening.clear()
            self._closing.wait(_AGAIN)

    def _listen(self) -> None:
        borrowed = self.database.engine.raw_connection()
        raw: Any = borrowed.driver_connection
        borrowed.detach()  # it never goes back to the pool
        with closing(raw):
            raw.autocommit = True
            raw.execute(f"listen {_CHANNEL}")
            self.listening.set()
            while not self._closing.is_set():
                for told in raw.notifies(timeout=_LOOK):
                    self._hear(told.payload)

    def _hear(self, payload: str) -> None:
        notice = msgspec.json.decode(payload, type=_Notice)
        if notice.by != self.me:
            self.heard(Nudges(set(notice.hosts), set(notice.topics)))
