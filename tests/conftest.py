"""What every test may ask for: `database`, empty, with all tables; the test runs once on SQLite and once on PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import event

from arable.store.database import Database
from arable.store.schema import metadata
from postgres_cluster import Cluster, cluster
from serving import Served, serving

_numbers = count(1)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A private PostgreSQL server; its database `template_arable` has the tables."""
    with cluster() as running:
        running.run("create database template_arable")
        template = Database(running.url("template_arable"))
        with template.write() as tx:
            metadata.create_all(tx)
        template.close()
        yield running


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


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> Iterator[Database]:
    with fresh(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture
def sqlite(request, tmp_path) -> Iterator[Database]:
    """For what does not depend on the engine."""
    with fresh("sqlite", tmp_path, request) as made:
        yield made


@pytest.fixture
def served(sqlite, tmp_path) -> Iterator[Served]:
    """The API over SQLite, with its first operator signed in."""
    with serving(sqlite, tmp_path) as made:
        yield made


@pytest.fixture
def served_both(database, tmp_path) -> Iterator[Served]:
    """The same, once over each database."""
    with serving(database, tmp_path) as made:
        yield made
