"""Replicas as files: whatever is written to a volume is on its replica, and who is killed in between has a whole point."""

import shutil
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path

import pytest

from arable.domain.errors import CloudError
from arable.domain.ids import PoolId, ReplicaId, SnapshotId, VolumeId
from arable.domain.units import MIB
from arable.drivers.storage.local import LocalStorage
from arable.drivers.storage.protocol import Passing
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from drivers import make_drivers as make
from drivers.test_local_storage import reads, tool, write
from drivers.test_storage_crashes import killed_before

pytestmark = pytest.mark.real

VOLUME, BY = VolumeId("volume-kept"), ReplicaId("replica-a")
SIZE = 600 * MIB  # of two tables


def opened(folder: Path) -> LocalStorage:
    return LocalStorage(folder, PoolId("pool-a"), RealClock())


def pattern(path: Path, at: int) -> int:
    """The byte that is there."""
    dumped = tool("qemu-io", "-r", "-f", "qcow2", "-c", f"read -v {at} 512", path)
    return int(dumped.split()[1], 16)


def follow(source: LocalStorage, target: LocalStorage, size: int = SIZE, image=None) -> int:
    found = target.follow(
        VOLUME, BY, size, image, lambda since: source.increment(VOLUME, BY, since)
    )
    return found.point


def sent(source: LocalStorage, since: int) -> bytes:
    with source.increment(VOLUME, BY, since) as passing:
        return b"".join(passing.pieces)


def takes(target: LocalStorage, increment: bytes) -> int:
    passing = Passing(
        len(increment), len(increment), iter([increment]), sha256(increment).hexdigest()
    )
    return target.follow(VOLUME, BY, SIZE, None, lambda _since: nullcontext(passing)).point


@pytest.mark.parametrize("seed", ["a", "b"])
def test_a_replica_is_what_the_volume_was_at_its_last_point(tmp_path, seed) -> None:
    dice = Entropy(seed).random
    here, there = opened(tmp_path / "here"), opened(tmp_path / "there")
    content = make.qcow2(content=b"boot me" * 100_000)
    part, depot = make.part(content), make.Depot(content)
    for pool in (here, there):
        pool.admit(part, depot.fetch)
    path = here.ensure(VOLUME, SIZE, part).path
    snapshot = SnapshotId("snapshot-a")
    for turn in range(8):
        commands = []
        for _ in range(12):
            at, length = dice.randrange(0, SIZE - MIB, 4096), dice.choice((4096, 65536, 300_032))
            does = dice.choice(("write -P 7", "write -P 9", "write -z", "discard"))
            commands += ["-c", f"{does} {at} {length}"]
        tool("qemu-io", "-f", "qcow2", "-d", "unmap", *commands, path)
        if turn == 2:
            here.take(VOLUME, snapshot)
        if turn == 5:
            here.restore(VOLUME, snapshot, SIZE, make.fresh("operation"))
        follow(here, there, image=part)
        if turn == 3:
            there = opened(tmp_path / "there")
    found = there.promote(VOLUME, BY, part)
    tool("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", path, found.path)
    write(found.path, 5)
    tool("qemu-img", "check", "-f", "qcow2", found.path)


def test_who_is_killed_while_a_point_comes_has_a_whole_one(tmp_path) -> None:
    here, there = opened(tmp_path / "here"), opened(tmp_path / "there")
    path = here.ensure(VOLUME, SIZE, None).path
    write(path, 1)
    write(path, 1, at="590M")
    takes(there, sent(here, 0))
    write(path, 2)
    write(path, 2, at="590M")
    increment = sent(here, 1)
    step, points = 0, set()
    while True:
        shutil.rmtree(tmp_path / "tried", ignore_errors=True)
        tool("cp", "-a", "--sparse=always", tmp_path / "there", tmp_path / "tried")
        tried = opened(tmp_path / "tried")
        killed = killed_before(step, lambda tried=tried: takes(tried, increment))
        again = opened(tmp_path / "tried")
        point = again.replicas()[VOLUME].point
        found = again.promote(VOLUME, BY, None)
        whole = pattern(found.path, 0)
        assert pattern(found.path, 590 * MIB) == whole
        assert whole >= point, "what was told is there"
        points.add(whole)
        if not killed:
            break
        step += 1
    assert step > 8
    assert points == {1, 2}


def test_who_is_killed_while_a_replica_becomes_the_volume_is_done_later(tmp_path) -> None:
    here, there = opened(tmp_path / "here"), opened(tmp_path / "there")
    write(here.ensure(VOLUME, SIZE, None).path, 1)
    takes(there, sent(here, 0))
    step, killed = 0, True
    while killed:
        shutil.rmtree(tmp_path / "tried", ignore_errors=True)
        tool("cp", "-a", "--sparse=always", tmp_path / "there", tmp_path / "tried")
        tried = opened(tmp_path / "tried")
        killed = killed_before(step, lambda tried=tried: tried.promote(VOLUME, BY, None))
        again = opened(tmp_path / "tried")
        if VOLUME not in again.volumes():
            with pytest.raises(CloudError):
                again.ensure(VOLUME, SIZE, None)
        found = again.promote(VOLUME, BY, None)
        assert reads(found.path, 1)
        assert not again.replicas()
        assert not list((tmp_path / "tried/replicas").iterdir())
        step += 1
    assert step > 8
