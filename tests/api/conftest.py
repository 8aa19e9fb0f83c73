"""A served cloud for a whole module, and a watch over everything in it."""

from collections.abc import Iterator

import pytest

from belongings import Belongings, belongings
from databases import fresh_sqlite
from everything_kept import every_row
from serving import Served, serving


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> Iterator[Served]:
    """The API over SQLite, for all tests of a module: only for those that look, try, or are refused."""
    directory = tmp_path_factory.mktemp("cloud")
    with fresh_sqlite(directory) as database, serving(database, directory) as made:
        yield made


@pytest.fixture(scope="module")
def things(cloud) -> Belongings:
    """One of everything, of the customer `owner`."""
    return belongings(cloud, cloud.customer("owner"))


@pytest.fixture
def unharmed(cloud, things) -> Iterator[None]:
    """At the end, every table and every image file is as it was."""
    folder = cloud.around.images._folder
    before = every_row(cloud.database), set(folder.iterdir())
    yield
    assert every_row(cloud.database) == before[0]
    assert set(folder.iterdir()) == before[1]
