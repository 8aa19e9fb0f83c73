"""Volumes as files that all hosts have mounted keep the contracts; and what is refused where that would not be safe."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from arable.domain.errors import Conflict, Stale, Unavailable
from arable.domain.manifest import Heir
from arable.domain.units import MIB
from arable.drivers.storage import file_locks
from arable.drivers.storage.file.exports import LEASED
from arable.drivers.storage.file.pool import KEEPER, FileStorage
from arable.drivers.storage.leases import Coming, TooEarly
from arable.drivers.storage.local import LocalStorage
from arable.runtime.boottime import ClockBootTime
from arable.runtime.clock import RealClock, VirtualClock
from drivers import make_drivers as make
from drivers.contract_carries import SharedCarryContract
from drivers.contract_shared import A, B, SharedContract, SharedRig
from drivers.contract_snapshots import SharedSnapshotContract, snapshot
from drivers.contract_storage import StorageContract
from drivers.test_local_storage import reads, write


class FilePoolRig(SharedRig):
    """A pool in a directory. What a host opens is what the pool's keeper told it, and nothing else."""

    @pytest.fixture
    def pool(self, tmp_path) -> FileStorage:
        self.folder, self.id = tmp_path / "pool", make.pool()
        self.clock = VirtualClock()
        return self.made()

    @pytest.fixture
    def storage(self, pool) -> FileStorage:
        return pool

    def made(self) -> FileStorage:
        self.newest = FileStorage(
            self.folder,
            self.id,
            RealClock(),
            ClockBootTime(self.clock),
            lease_seconds=5.0,
            capacity_bytes=1 << 30,
        )
        return self.newest

    def reopened(self, pool) -> FileStorage:
        self.newest.close()
        return self.made()

    def write(self, storage, volume, pattern) -> None:
        write(storage.volumes()[volume].path, pattern)

    def reads(self, storage, volume, pattern) -> bool:
        return reads(storage.volumes()[volume].path, pattern)

    def file(self, at):
        return self.folder / LEASED / at.name

    def lets_in(self, pool, at, host) -> bool:
        epoch = int(at.name.rpartition(".e")[2])
        told = {
            (record.holder, record.served)
            for record in pool.leases.records().values()
            if at.volume in record.volumes
        }
        for right in pool.leases._rights.values():
            if right.heir and at.volume in right.volumes:
                told.add((right.heir.host, right.heir.epoch))
        return (host, epoch) in told and self.file(at).exists()

    def may_read(self, pool, at, host, pattern) -> bool:
        return self.lets_in(pool, at, host) and reads(self.file(at), pattern)

    def may_write(self, pool, at, host) -> bool:
        # What shows another volume is opened read-only by every host: it is wished for as such.
        if not self.lets_in(pool, at, host) or pool.volumes()[at.volume].view_of:
            return False
        write(self.file(at), 9)
        return True


@contextmanager
def opened(path: Path, *, writes: bool = True) -> Iterator["subprocess.Popen[str]"]:
    """A QEMU of some host has the file open, with QEMU's locks."""
    command = [
        "qemu-io",
        *(() if writes else ("-r",)),
        "-f",
        "qcow2",
        "-t",
        "writethrough",
        str(path),
    ]
    one = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert says(one, "length").strip() != ""
        yield one
    finally:
        one.kill()
        one.communicate()


def says(one: "subprocess.Popen[str]", command: str) -> str:
    """What it answers to a command that has one line of answer, its prompts apart."""
    assert one.stdin
    assert one.stdout
    one.stdin.write(f"{command}\n")
    one.stdin.flush()
    return one.stdout.readline().replace("qemu-io> ", "")


@pytest.mark.real
class TestFilePool(
    FilePoolRig, SharedContract, SharedCarryContract, SharedSnapshotContract, StorageContract
):
    @pytest.fixture
    def other(self, tmp_path) -> LocalStorage:
        return LocalStorage(tmp_path / "other", make.pool(), RealClock())


@pytest.mark.real
class TestWhatIsOpen(FilePoolRig):
    """What the contract does not speak of: a file that a host has open stays open until its QEMU is gone."""

    def test_nobody_is_let_in_while_the_last_one_has_the_file_open_whatever_is_known_of_it(
        self, pool, right
    ) -> None:
        at = self.given(pool, right)
        with opened(self.file(at)) as old:
            for anew in (pool, self.reopened(pool)):
                with pytest.raises(Unavailable, match="still open"):
                    anew.leases.allow(self.next(right))  # the old host is said to have no power
                self.clock.wait(timedelta(seconds=60))
                with pytest.raises(Unavailable, match="still open"):
                    anew.leases.acquire(right.machine, B, 2)
                with pytest.raises(Stale):
                    anew.leases.renew(right.machine, A, 1)
                assert not self.file(at).exists(), "who is late finds no such file"
            assert "wrote" in says(old, "write -P 5 0 64k")
        again = self.newest
        again.leases.acquire(right.machine, B, 2)
        assert reads(self.file(again.where(right.volumes[0], 2)), 5)

    def test_its_time_is_waited_for_even_when_nobody_has_the_file_open(self, pool, right) -> None:
        self.given(pool, right)
        pool.leases.allow(replace(self.next(right), fenced=None))
        with pytest.raises(TooEarly):
            pool.leases.acquire(right.machine, B, 2)
        self.clock.wait(timedelta(seconds=6))
        pool.leases.acquire(right.machine, B, 2)

    def test_it_is_handed_over_when_the_sender_has_let_go_of_the_file(self, pool, right) -> None:
        at, heir = self.given(pool, right), replace(right, heir=Heir(host=B, epoch=2))
        with opened(self.file(at)):
            pool.leases.allow(heir)
            with pytest.raises(Coming):
                pool.leases.acquire(right.machine, B, 2)
            with pytest.raises(Unavailable):
                pool.leases.hand_over(right.machine, A, 1, 2)
            pool.leases.tend()
            assert self.file(at).exists(), "it is the holder's as before"
        pool.leases.hand_over(right.machine, A, 1, 2)
        assert not self.file(at).exists()

    def test_a_snapshot_of_what_is_open_elsewhere_is_left_to_who_has_it_open(
        self, pool, right
    ) -> None:
        at, (volume,) = self.given(pool, right), right.volumes
        taken = snapshot()
        pool.take(volume, taken)
        with opened(self.file(at)):
            pool.take(volume, taken)  # it is there
            for act in (lambda: pool.take(volume, snapshot()), lambda: pool.drop(volume, taken)):
                with pytest.raises(Conflict, match="takes and drops its snapshots meanwhile"):
                    act()
        pool.drop(volume, taken)
        assert pool.snapshots(volume) == frozenset()

    def test_a_volume_that_is_leased_takes_its_room_once(self, pool, right) -> None:
        before = pool.usage().used_bytes
        self.given(pool, right)
        assert pool.usage().used_bytes - before < 1 * MIB // 16, "records alone"


class TestKeeper(FilePoolRig):
    """Of a pool there is one keeper, on a file system that keeps its word."""

    def test_a_second_keeper_is_refused_until_the_first_is_gone(self, pool) -> None:
        with pytest.raises(Unavailable, match="another host keeps the pool"):
            self.made()
        pool.close()
        assert self.made().volumes() == {}

    def test_it_is_seen_that_it_is_kept_and_where(self, pool) -> None:
        path = self.folder / KEEPER
        assert path.read_text() == str(self.folder)
        assert file_locks.is_held(path)
        pool.close()
        assert not file_locks.is_held(path)

    @pytest.mark.parametrize("error", [errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP])
    def test_where_there_are_no_locks_there_is_no_pool(self, tmp_path, monkeypatch, error) -> None:
        def refuse(*_args: object) -> bytes:
            raise OSError(error, os.strerror(error))

        self.folder, self.id, self.clock = tmp_path / "pool", make.pool(), VirtualClock()
        monkeypatch.setattr(file_locks.fcntl, "fcntl", refuse)
        with pytest.raises(Unavailable, match="keeps no locks"):
            self.made()

    def test_nor_where_a_lock_is_taken_and_not_seen(self, tmp_path, monkeypatch) -> None:
        self.folder, self.id, self.clock = tmp_path / "pool", make.pool(), VirtualClock()
        monkeypatch.setattr(file_locks, "is_held", lambda _path: False)
        with pytest.raises(Unavailable, match="keeps no locks"):
            self.made()

    def test_nor_where_there_are_no_hard_links(self, tmp_path, monkeypatch) -> None:
        def refuse(_path: Path, _to: Path) -> None:
            raise OSError(errno.EPERM, "no")

        self.folder, self.id, self.clock = tmp_path / "pool", make.pool(), VirtualClock()
        with monkeypatch.context() as m:
            m.setattr(Path, "hardlink_to", refuse)
            with pytest.raises(Unavailable, match="hard links"):
                self.made()
        self.made()  # nothing is kept of it
