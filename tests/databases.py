"""Empty databases with all tables, of either kind, for fixtures of any lifetime.

Hundreds of tests want one, so making the tables anew for each would take longer than the tests: a SQLite file is copied,
and a PostgreSQL database that a test has done with is emptied for the next one.
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
from sqlalchemy import event

from arable.store.compiled import Compiled
from arable.store.database import Database
from arable.store.schema import metadata
from postgres_cluster import Cluster

_USES = 50  # of one PostgreSQL database: nobody vacuums what was deleted
_numbers = count(1)
_TABLES = [table.name for table in metadata.sorted_tables]
_EMPTY = "; ".join(f'delete from "{name}"' for name in reversed(_TABLES))
_TABLES_THERE = (
    "select tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
)
_SCHEMAS_THERE = (
    "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
)
_HANG_UP = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid()"
)
_REWIND = "select setval(seqrelid::regclass, seqstart, false) from pg_sequence"


def _careless(raw: sqlite3.Connection, _record: object) -> None:
    """A test's database need not outlive the machine's power."""
    raw.execute("PRAGMA synchronous=OFF")


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
        self._waiting: list[tuple[str, int]] = []
        self._cleaners: dict[str, psycopg.Connection] = {}

    @contextmanager
    def one(self) -> Iterator[Database]:
        """A database that nobody else has."""
        name, uses = self._waiting.pop() if self._waiting else (self._made(), 0)
        made = _COMPILED["postgresql"].serve(Database(self._running.url(name)))
        try:
            yield made
        finally:
            made.close()
            if uses < _USES and self._emptied(name):
                self._waiting.append((name, uses + 1))
            else:
                self._drop(name)

    def close(self) -> None:
        """Nothing is asked for any more."""
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

    def _emptied(self, name: str) -> bool:
        """Whether it is as it was; not if a test changed the tables themselves."""
        # One connection for each database's life: a new one would have to learn of a hundred tables each time.
        cleaner = self._cleaners.get(name) or self._running.connection(name)
        self._cleaners[name] = cleaner
        with cleaner.transaction():
            cleaner.execute(_HANG_UP)
            tables = [row[0] for row in cleaner.execute(_TABLES_THERE)]
            schemas = [row[0] for row in cleaner.execute(_SCHEMAS_THERE)]
            if sorted(tables) != sorted(_TABLES) or schemas != ["public"]:
                return False
            cleaner.execute(_EMPTY)
            cleaner.execute(_REWIND)
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
