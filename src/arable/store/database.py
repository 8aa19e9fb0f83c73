"""A database by URL: `sqlite:///path`, `sqlite://` (in memory) or `postgresql+psycopg://…`, the same to everybody above.

SQLite runs in WAL mode with every commit on disk (rule 6), one writer at a time (`BEGIN IMMEDIATE`: a transaction
that will write holds the right to from its start, so what it read can't change under it). PostgreSQL runs at READ
COMMITTED; whoever decides on what it read locks those rows (`with_for_update`, which SQLite does not need and ignores).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from arable.domain.errors import Conflict, Unavailable

Tx = Connection
"""An open transaction."""


class Database:
    """Opens transactions. Cheap to share between threads, except in memory, where one thread must do everything.

    `name`: whose they are.
    """

    def __init__(self, url: str, name: str = "") -> None:
        self.url = url
        self.name = name
        self.engine = _sqlite(url) if url.startswith("sqlite") else _postgresql(url, name)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded store, which one management server has for itself."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A consistent look that never writes and never waits for writers."""
        with self._errors(), self.engine.connect() as tx, tx.begin():
            if self.is_sqlite:
                tx.connection.cursor().execute("BEGIN")  # which never fails
            yield tx

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A transaction that may write; committed at the end of the block, rolled back by an exception."""
        with self._errors(), self.engine.connect() as tx, tx.begin():
            if self.is_sqlite:
                tx.exec_driver_sql("BEGIN IMMEDIATE")
            yield tx

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise Conflict(
                "this collides with something that is there already", detail=said(error)
            ) from error
        except DBAPIError as error:
            busy = self.is_sqlite and "locked" in str(error.orig)
            busy = busy or getattr(error.orig, "sqlstate", None) == _LOCKED
            if error.connection_invalidated or busy or _gone(error):
                raise Unavailable("the database does not answer", detail=str(error)) from error
            raise

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()


_LOST_RACES = {"40001", "40P01"}  # SQLSTATE: could not serialise, deadlock


def lost_race(error: BaseException) -> bool:
    """Whether the database gave this transaction up for another's sake: the same again will do."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _LOST_RACES


_READ_ONLY = "25006"  # SQLSTATE read_only_sql_transaction
_LOCKED = "55P03"  # lock_not_available: others had it for longer than we wait


def _gone(error: DBAPIError) -> bool:
    """Whether PostgreSQL can't be reached, ends our session (its SQLSTATE classes 08 and 57), or may not be written."""
    state = getattr(error.orig, "sqlstate", "")  # psycopg's errors alone have one; None: no answer
    if state == _READ_ONLY:
        return True
    if not isinstance(error, (OperationalError, InterfaceError)):
        return False
    return state is None or state[:2] in {"08", "57"}


def said(error: DBAPIError) -> str:
    """What the database said, for a log: not the values, which PostgreSQL's details repeat; they may be secrets."""
    diag = getattr(error.orig, "diag", None)
    if diag is None:
        return str(error.orig)
    return f"{diag.message_primary} ({diag.constraint_name})"


_KEPT = 512  # statements that stay prepared: those for 64 rows at once are long


def _sqlite(url: str) -> Engine:
    memory = url in ("sqlite://", "sqlite:///:memory:")
    options: dict[str, Any] = {"poolclass": StaticPool} if memory else {"pool_size": 8}
    engine = create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": 30, "cached_statements": _KEPT},
        hide_parameters=True,
        **options,
    )

    @event.listens_for(engine, "connect")
    def _opened(raw: sqlite3.Connection, _record: object) -> None:
        # We say BEGIN ourselves, where a transaction is opened: an engine that listens for it looks for listeners
        # at each statement, which takes a tenth of its time.
        raw.isolation_level = None
        if not memory:
            _write_ahead(raw)
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")
        # 32 MiB: the usual 4 are full after two large commits, and each time every page is written twice.
        raw.execute("PRAGMA wal_autocheckpoint=8192")
        raw.execute("PRAGMA cache_size=-65536")
        raw.execute("PRAGMA temp_store=MEMORY")

    return engine


_SWITCHES = 100


def _write_ahead(raw: sqlite3.Connection) -> None:
    """SQLite itself does not wait for others that switch a new file's mode, or close it, at the same moment."""
    for _ in range(_SWITCHES):
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            raw.execute("BEGIN EXCLUSIVE")  # it does wait for these
            raw.execute("COMMIT")
        else:
            return
    raise sqlite3.OperationalError("database is locked")


def _postgresql(url: str, name: str) -> Engine:
    """`name` is what PostgreSQL calls our sessions: by it others end those of a server that stands still."""
    return create_engine(
        url,
        pool_size=8,
        max_overflow=8,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "application_name": name or "arable",
            "connect_timeout": 5,
            "tcp_user_timeout": 10_000,  # ms that what was sent may stay unacknowledged
        },
    )
