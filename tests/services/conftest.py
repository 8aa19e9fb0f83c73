"""What tests of services may ask for."""

import pytest
from make_cloud import Cloud, make_cloud


@pytest.fixture
def cloud(database) -> Cloud:
    """On both databases."""
    return make_cloud(database)


@pytest.fixture
def lone_cloud(sqlite) -> Cloud:
    """For what does not depend on the database."""
    return make_cloud(sqlite)
