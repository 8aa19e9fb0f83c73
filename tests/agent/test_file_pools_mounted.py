"""What a host believes of directories that may be pools: nothing, before it was seen there that the pool is kept."""

import errno
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from arable.agent.file_pools import FilePools
from arable.domain.ids import PoolId, VolumeId
from arable.drivers.storage import file_locks
from arable.drivers.storage.file.pool import KEEPER, FileStorage
from arable.runtime.boottime import ClockBootTime
from arable.runtime.clock import VirtualClock

POOL, VOLUME = PoolId("pool-files"), VolumeId("volume-v")


class Mounted:
    """A directory, its keeper, and a host that has it mounted."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.directory = folder / "pool"
        self.keeper = self.kept()
        (self.directory / "pool.id").write_text(POOL)
        self.news = 0
        self.host = FilePools([self.directory], self.clock, self.changed)

    def changed(self) -> None:
        self.news += 1

    def kept(self) -> FileStorage:
        return FileStorage(self.directory, POOL, self.clock, ClockBootTime(self.clock))

    def lacks(self) -> str:
        self.host.look(self.directory)
        return self.host.lacks(POOL)


@pytest.fixture
def mounted(tmp_path) -> Mounted:
    return Mounted(tmp_path)


def test_a_pool_that_is_kept_is_there_and_said_once(mounted):
    assert mounted.host.reached() == ()
    assert "not mounted" in mounted.host.lacks(POOL), "before it was looked at"
    assert mounted.lacks() == ""
    assert mounted.lacks() == ""
    assert mounted.host.reached() == (POOL,)
    assert mounted.news == 1
    path = mounted.host.path(POOL, VOLUME, 3)
    assert path == mounted.directory / "leased" / "volume-v.e3"


def test_another_pool_is_not_there(mounted):
    assert mounted.lacks() == ""
    assert "not mounted" in mounted.host.lacks(PoolId("pool-other"))


def test_an_empty_directory_is_not_the_pool_that_was_there(mounted):
    mounted.lacks()
    shutil.rmtree(mounted.directory)
    mounted.directory.mkdir()
    assert "is it mounted?" in mounted.lacks()
    assert mounted.host.reached() == ()
    assert mounted.news == 2


def test_a_copy_of_a_pool_is_not_the_pool(mounted, tmp_path):
    """Its files are there, and the lock of its keeper is not: it is another file system, or one that passes no locks."""
    copy = tmp_path / "copy"
    shutil.copytree(mounted.directory, copy)
    (copy / KEEPER).write_text(str(copy))
    host = FilePools([copy], mounted.clock)
    host.look(copy)
    assert "lock of its keeper is not seen" in host.lacks(POOL)
    assert host.reached() == ()


def test_while_its_keeper_is_away_nothing_starts_and_it_is_reached_all_the_same(mounted):
    mounted.lacks()
    mounted.keeper.close()
    assert "lock of its keeper is not seen" in mounted.lacks()
    assert mounted.host.reached() == (POOL,)
    mounted.keeper = mounted.kept()
    assert mounted.lacks() == ""
    assert mounted.news == 1


def test_elsewhere_than_on_its_keeper_it_is_refused(mounted, tmp_path):
    other = tmp_path / "elsewhere"
    other.symlink_to(mounted.directory)
    host = FilePools([other], mounted.clock)
    host.look(other)
    assert f"its keeper has it at {mounted.directory}" in host.lacks(POOL)
    assert host.reached() == ()


def test_what_does_not_answer_is_not_relied_on(mounted):
    assert mounted.lacks() == ""
    mounted.clock.wait(timedelta(seconds=21))
    assert mounted.host.lacks(POOL) == f"{mounted.directory} does not answer"


@pytest.mark.parametrize("content", ["", "host-a", "pool-a\n", "../x"])
def test_a_mark_that_is_none_is_none(mounted, content):
    (mounted.directory / "pool.id").write_text(content)
    mounted.host.look(mounted.directory)
    assert mounted.host.reached() == ()
    assert mounted.host.lacks(POOL)


def test_what_can_not_be_read_is_said_why(mounted, monkeypatch):
    def stale(_path: Path) -> bool:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(file_locks, "is_held", stale)
    mounted.host.look(mounted.directory)
    assert "Stale file handle" in mounted.host.lacks(POOL)
