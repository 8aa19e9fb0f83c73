"""An empty mount point is not taken for the pool that was there."""

import shutil
from pathlib import Path

import pytest

from arable.agent.pool_marks import recognise
from arable.domain.errors import Unavailable
from arable.domain.ids import PoolId

POOL, OTHER = PoolId("pool-a"), PoolId("pool-b")


@pytest.fixture
def places(tmp_path) -> tuple[Path, Path]:
    (tmp_path / "home").mkdir()
    return tmp_path / "home", tmp_path / "disk" / "volumes"


def emptied(storage: Path) -> None:
    shutil.rmtree(storage)
    storage.mkdir()


def test_a_pool_is_known_again_and_its_empty_place_is_not_it(places):
    home, storage = places
    recognise(home, storage, POOL)
    recognise(home, storage, POOL)
    kept = storage.rename(storage.with_name("kept"))
    for there in (False, True):
        if there:
            storage.mkdir()
        with pytest.raises(Unavailable, match="is it mounted"):
            recognise(home, storage, POOL)
        assert not storage.exists() or not list(storage.iterdir()), "nothing is made there"
    storage.rmdir()
    kept.rename(storage)
    recognise(home, storage, POOL)


def test_a_host_that_joined_anew_has_another_pool_in_the_same_place(places):
    home, storage = places
    recognise(home, storage, POOL)
    emptied(storage)
    recognise(home, storage, OTHER)
    recognise(home, storage, OTHER)
    recognise(
        home, storage, POOL
    )  # where it was, another one may be: its disks are looked for by their names
    emptied(storage)
    with pytest.raises(Unavailable):
        recognise(home, storage, OTHER)


def test_what_was_there_before_marks_is_marked(places):
    home, storage = places
    (storage / "volumes").mkdir(parents=True)
    recognise(home, storage, POOL)
    emptied(storage)
    with pytest.raises(Unavailable):
        recognise(home, storage, POOL)


def test_whoever_dies_between_the_two_has_said_nothing_wrong(places):
    home, storage = places
    recognise(home, storage, POOL)
    shutil.rmtree(home)
    home.mkdir()
    recognise(home, storage, POOL)
    emptied(storage)
    with pytest.raises(Unavailable):
        recognise(home, storage, POOL)
