"""Empty databases with all tables, of either kind, for fixtures of any lifetime.

Hundreds of tests want one, so making the tables anew for each would take longer than the tests: a SQLite file is copied,
and a PostgreSQL database that a test has done with is emptied for the next one, which finds its connections open: a
new one has to learn of all tables, and to plan each statement.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from sqlalchemy import Pool, QueuePool, event

from arable.store.compiled import Compiled
from arable.store.database import Database
from arable.store.schema import metadata
from postgres_cluster import Cluster

_USES = 50  # of one PostgreSQL database: nobody vacuums what was deleted
_numbers = count(1)
_TABLES = [table.name for table in metadata.sorted_tables]
_FILLED = " union all ".join(
    f"select '{name}' where exists (select from \"{name}\")" for name in reversed(_TABLES)
)
_TABLES_THERE = (
    "select tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
)
_SCHEMAS_THERE = (
    "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
)
_HANG_UP = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid() and pid <> all(%s)"
)
_REWIND = "select setval(seqrelid::regclass, seqstart, false) from pg_sequence"


def _careless(raw: sqlite3.Connection, _record: object) -> None:
    """A test's database need not outlive the machine's power."""
    raw.execute("PRAGMA synchronous=OFF")


_MOST_KEPT = 6  # connections that stay open for the next test


class _Used:
    """A PostgreSQL database that is as good as new: how often it was emptied, and what is open to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uses = 0
        self._pool: Pool | None = None
        self._opened: list[psycopg.Connection] = []

    def lend(self, made: Database) -> None:
        """What is open, to the next one who uses it."""
        if self._pool is None:
            self._pool = made.engine.pool
            event.listen(self._pool, "connect", lambda raw, _record: self._opened.append(raw))
        made.engine.pool = self._pool

    def take_back(self, made: Database) -> list[int]:
        """The processes that serve what stays open: nothing if somebody still has a connection, or left much."""
        mine = made.engine.pool is self._pool and isinstance(self._pool, QueuePool)
        self._opened = [each for each in self._opened if not each.closed]
        if mine and self._pool.checkedout() == 0 and len(self._opened) <= _MOST_KEPT:
            made.engine.pool = self._pool.recreate()  # whoever comes too late does not get ours
            return [each.info.backend_pid for each in self._opened]
        made.close()
        self.close()
        return []

    def close(self) -> None:
        if self._pool is not None:
            self._pool.dispose()
        self._pool, self._opened = None, []


_COMPILED = {"sqlite": Compiled(), "postgresql": Compiled()}


@cache
def _file() -> bytes:
    """Of a SQLite database with all tables."""
    with TemporaryDirectory() as directory:
        made = Database(f"sqlite:///{directory}/arable.db")
        with made.write() as tx:
            metadata.create_all(tx)
        made.close()
        return Path(directory, "arable.db").read_bytes()


@contextmanager
def fresh_sqlite(directory: Path) -> Iterator[Database]:
    """An empty SQLite database with all tables."""
    file = directory / "arable.db"
    file.write_bytes(_file())
    made = _COMPILED["sqlite"].serve(Database(f"sqlite:///{file}"))
    event.listen(made.engine, "connect", _careless)
    try:
        yield made
    finally:
        made.close()


class EmptyDatabases:
    """Those of a PostgreSQL server that are as good as new."""

    def __init__(self, running: Cluster) -> None:
        self._running = running
        self._waiting: list[_Used] = []
        self._cleaners: dict[str, psycopg.Connection] = {}

    @contextmanager
    def one(self) -> Iterator[Database]:
        """A database that nobody else has."""
        used = self._waiting.pop() if self._waiting else _Used(self._made())
        made = _COMPILED["postgresql"].serve(Database(self._running.url(used.name)))
        used.lend(made)
        try:
            yield made
        finally:
            open_ = used.take_back(made)
            if used.uses < _USES and self._emptied(used.name, open_):
                used.uses += 1
                self._waiting.append(used)
            else:
                used.close()
                self._drop(used.name)

    def close(self) -> None:
        """Nothing is asked for any more."""
        for used in self._waiting:
            used.close()
        for cleaner in self._cleaners.values():
            cleaner.close()

    @contextmanager
    def new(self) -> Iterator[Database]:
        """A database that nobody used before: what it knows of its tables' sizes is of its own making."""
        name = self._made()
        made = _COMPILED["postgresql"].serve(Database(self._running.url(name)))
        try:
            yield made
        finally:
            made.close()
            self._running.run(f"drop database {name} with (force)")

    def _drop(self, name: str) -> None:
        cleaner = self._cleaners.pop(name, None)
        if cleaner:
            cleaner.close()
        self._running.run(f"drop database {name} with (force)")

    def _made(self) -> str:
        name = f"test_{next(_numbers)}"
        self._running.run(f"create database {name} template template_arable strategy file_copy")
        return name

    def _emptied(self, name: str, open_: list[int]) -> bool:
        """Whether it is as it was; not if a test changed the tables themselves. Others than those processes let go of it."""
        # One connection for each database's life: a new one would have to learn of a hundred tables each time.
        cleaner = self._cleaners.get(name) or self._running.connection(name)
        cleaner.prepared_max = None
        self._cleaners[name] = cleaner
        with cleaner.transaction():
            cleaner.execute(_HANG_UP, [open_], prepare=True)
            tables = [row[0] for row in cleaner.execute(_TABLES_THERE, prepare=True)]
            schemas = [row[0] for row in cleaner.execute(_SCHEMAS_THERE, prepare=True)]
            if sorted(tables) != sorted(_TABLES) or schemas != ["public"]:
                return False
            for (table,) in cleaner.execute(_FILLED, prepare=True).fetchall():
                cleaner.execute(f'delete from "{table}"', prepare=True)
            cleaner.execute(_REWIND, prepare=True)
        return True


@contextmanager
def fresh(kind: str, directory: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database with all tables."""
    if kind == "sqlite":
        with fresh_sqlite(directory) as made:
            yield made
    else:
        with request.getfixturevalue("postgresql").one() as made:
            yield made
