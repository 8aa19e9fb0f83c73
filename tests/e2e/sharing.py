"""Which of the tests here are run in the one cloud that this directory's `conftest.py` brings up."""

import pytest

CLOUD = "cloud"


def shares_its_cloud(item: pytest.Item) -> bool:
    """Whether it asks for that cloud, by itself or by another fixture; a file may have one of its own of that name."""
    if not isinstance(item, pytest.Function):
        return False
    found = item._fixtureinfo.name2fixturedefs.get(CLOUD)
    return bool(found) and found[-1].baseid.endswith("e2e")  # this directory
