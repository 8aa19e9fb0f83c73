"""Empty databases with all tables, of either kind, for fixtures of any lifetime."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import event

from arable.store.database import Database
from arable.store.schema import metadata
from postgres_cluster import Cluster

_numbers = count(1)


def _careless(raw: sqlite3.Connection, _record: object) -> None:
    """A test's database need not outlive the machine's power."""
    raw.execute("PRAGMA synchronous=OFF")


@contextmanager
def fresh_sqlite(directory: Path) -> Iterator[Database]:
    """An empty SQLite database with all tables."""
    made = Database(f"sqlite:///{directory}/arable.db")
    event.listen(made.engine, "connect", _careless)
    with made.write() as tx:
        metadata.create_all(tx)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def fresh(kind: str, directory: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database with all tables."""
    if kind == "sqlite":
        with fresh_sqlite(directory) as made:
            yield made
        return
    running: Cluster = request.getfixturevalue("postgresql")
    name = f"test_{next(_numbers)}"
    running.run(f"create database {name} template template_arable")
    made = Database(running.url(name))
    try:
        yield made
    finally:
        made.close()
        running.run(f"drop database {name} with (force)")
