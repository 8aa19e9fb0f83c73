"""What every test may ask for: `database`, empty, with all tables; the test runs once on SQLite and once on PostgreSQL."""

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

# pytest reads the source of its plugins anew and Python 3.11 falls over two threads that do such a thing at a time:
# httpx would import this one in whichever thread comes first.
import anyio._backends._asyncio  # noqa: F401
import pytest

from arable.store.database import Database
from arable.store.schema import metadata
from databases import EmptyDatabases, fresh
from e2e.sharing import shares_its_cloud
from postgres_cluster import cluster
from serving import Served, serving

TESTS = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Told to leave, we leave as for Ctrl-C: namespaces and daemons that tests made would outlive this process."""
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before those who distribute look at it
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup` real tests of a directory stay together: they share a lab, daemons or switches.

    Of those from end to end, which take longest, a file that has a lab of its own is a group of its own.
    """
    for item in items:
        if item.get_closest_marker("real"):
            group = item.path.relative_to(TESTS).parts[0]
            if group == "e2e" and not shares_its_cloud(item):
                group = item.path.stem
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish() -> None:
    """The tests themselves are no garbage: to look through them all, again and again, takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as servers have it


@pytest.fixture(scope="session")
def postgresql() -> Iterator[EmptyDatabases]:
    """A private PostgreSQL server; its database `template_arable` has the tables."""
    with cluster() as running:
        running.run("create database template_arable")
        template = Database(running.url("template_arable"))
        with template.write() as tx:
            metadata.create_all(tx)
        template.close()
        made = EmptyDatabases(running)
        yield made
        made.close()


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
