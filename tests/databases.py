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

import pytest
from sqlalchemy import event

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
    made = Database(f"sqlite:///{file}")
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

    @contextmanager
    def one(self) -> Iterator[Database]:
        """A database that nobody else has."""
        name, uses = self._waiting.pop() if self._waiting else (self._made(), 0)
        made = Database(self._running.url(name))
        try:
            yield made
        finally:
            made.close()
            if uses < _USES and self._emptied(name):
                self._waiting.append((name, uses + 1))
            else:
                self._running.run(f"drop database {name} with (force)")

    def _made(self) -> str:
        name = f"test_{next(_numbers)}"
        self._running.run(f"create database {name} template template_arable strategy file_copy")
        return name

    def _emptied(self, name: str) -> bool:
        """Whether it is as it was; not if a test changed the tables themselves."""
        again = Database(self._running.url(name))
        try:
            with again.write() as tx:
                tx.exec_driver_sql(_HANG_UP)
                tables = [row[0] for row in tx.exec_driver_sql(_TABLES_THERE)]
                schemas = [row[0] for row in tx.exec_driver_sql(_SCHEMAS_THERE)]
                if sorted(tables) != sorted(_TABLES) or schemas != ["public"]:
                    return False
                tx.exec_driver_sql(_EMPTY)
                tx.exec_driver_sql(_REWIND)
                return True
        finally:
            again.close()


@contextmanager
def fresh(kind: str, directory: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database with all tables."""
    if kind == "sqlite":
        with fresh_sqlite(directory) as made:
            yield made
    else:
        with request.getfixturevalue("postgresql").one() as made:
            yield made
