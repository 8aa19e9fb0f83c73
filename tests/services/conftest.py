"""What tests of services may ask for."""

import pytest
from make_cloud import Cloud, make_cloud
from make_infra import Infra


@pytest.fixture
def cloud(database) -> Cloud:
    """On both databases."""
    return make_cloud(database)


@pytest.fixture
def lone_cloud(sqlite) -> Cloud:
    """For what does not depend on the database."""
    return make_cloud(sqlite)


@pytest.fixture
def infra(database, tmp_path) -> Infra:
    """An operator's things, on both databases."""
    return Infra(database, tmp_path)


@pytest.fixture
def lone_infra(sqlite, tmp_path) -> Infra:
    """For what does not depend on the database."""
    return Infra(sqlite, tmp_path)
