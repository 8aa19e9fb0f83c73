"""A process that is killed before any of its steps, and what the next one finds.

The steps are those that change a file or start a tool, as Python's audit events tell them: nothing in the driver
knows that it is watched. The kill is real (`_exit` of a forked process): no `finally` runs.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from arable.domain.errors import BadInput
from arable.domain.ids import OperationId, PoolId, SnapshotId, VolumeId
from arable.domain.image_files import PartSaid
from arable.domain.manifest import PartFormat, PartRole
from arable.domain.units import MIB
from arable.drivers.storage.image_store import ImageStore
from arable.drivers.storage.local import LocalStorage
from arable.runtime.clock import RealClock
from drivers import make_drivers as make

pytestmark = pytest.mark.real

KILLED = 77
STEPS = {
    "os.rename",
    "os.link",
    "os.remove",
    "os.truncate",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "subprocess.Popen",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

IMAGE = make.qcow2(content=b"boot me")
PART = make.part(IMAGE)
KEPT, ERASED = VolumeId("volume-kept"), VolumeId("volume-erased")
SNAPSHOT, BACK = SnapshotId("snapshot-a"), OperationId("operation-a")
SECRET = "password: secret\n"


def killed_before(step: int, does: Callable[[], None]) -> bool:
    """Run `does` in a process of its own, killed before its step `step`. False when it has fewer."""
    child = os.fork()
    if child == 0:
        passed = 0

        def watch(event: str, arguments: tuple) -> None:
            nonlocal passed
            changes = event in STEPS or (event == "open" and (arguments[2] or 0) & WRITING)
            if not changes:
                return
            if passed == step:
                os._exit(KILLED)
            passed += 1

        code = 1
        try:
            sys.addaudithook(watch)
            does()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, KILLED}, f"step {step} failed otherwise"
    return code == KILLED


@dataclass
class Life:
    """A pool's life: everything the driver does, once."""

    folder: Path

    def open(self) -> LocalStorage:
        return LocalStorage(self.folder, PoolId("pool-a"), RealClock())

    def live(self) -> None:
        storage = self.open()
        storage.admit(PART, make.Depot(IMAGE).fetch)
        storage.ensure(KEPT, 2 * MIB, PART)
        storage.seed(KEPT, "instance-id: a\n", SECRET)
        storage.ensure(KEPT, 4 * MIB, PART)
        storage.ensure(ERASED, 1 * MIB, None)
        storage.erase(ERASED)


def is_sound(path: Path) -> bool:
    done = subprocess.run(
        ["qemu-img", "check", "-q", "-f", "qcow2", path], check=False, capture_output=True
    )
    return done.returncode == 0


def test_a_pool_survives_its_process_wherever_it_is_killed(tmp_path) -> None:
    step = 0
    while killed_before(step, Life(tmp_path / str(step)).live):
        life = Life(tmp_path / str(step))
        storage = life.open()
        assert not list((life.folder / "staging").iterdir()), step
        assert not list((life.folder / "erasing").iterdir()), step
        for sha256 in storage.images():
            storage.verify(sha256)
        for found in storage.volumes().values():
            assert found.bytes in {1 * MIB, 2 * MIB, 4 * MIB}, step
            assert is_sound(found.path), step
        life.live()
        assert set(storage.volumes()) == {KEPT}, step
        assert storage.volumes()[KEPT].bytes == 4 * MIB, step
        assert storage.strays() == [], step
        assert {path.name for path in life.folder.glob("*/*")} == {
            PART.sha256,
            f"{KEPT}.qcow2",
            f"{KEPT}.iso",
        }, step
        step += 1
    assert step > 30


def test_a_kill_while_erasing_leaves_all_or_nothing(tmp_path) -> None:
    step, outcomes = 0, set()
    while True:
        folder = tmp_path / str(step)
        storage = LocalStorage(folder, PoolId("pool-a"), RealClock())
        path = storage.ensure(ERASED, MIB, None).path
        storage.seed(ERASED, "instance-id: a\n", SECRET)
        content = path.read_bytes()
        with path.open("rb") as held:
            more = killed_before(step, lambda: storage.erase(ERASED))  # noqa: B023 - done within
            anew = LocalStorage(folder, PoolId("pool-a"), RealClock())
            there = ERASED in anew.volumes()
            assert held.read() == (content if there else b"")
        anew.erase(ERASED)
        assert not [path for path in folder.rglob("*") if path.is_file()]
        outcomes.add(there)
        if not more:
            break
        step += 1
    assert step >= 3
    assert outcomes == {True, False}


def test_a_kill_while_a_volume_is_set_back_leaves_it_to_be_done_again_and_then_never_more(
    tmp_path,
) -> None:
    step = 0
    while True:
        storage = LocalStorage(tmp_path / str(step), PoolId("pool-a"), RealClock())
        path = storage.ensure(KEPT, 1 * MIB, None).path
        storage.take(KEPT, SNAPSHOT)
        storage.ensure(KEPT, 2 * MIB, None)
        back = (KEPT, SNAPSHOT, 2 * MIB, BACK)
        more = killed_before(step, lambda: storage.restore(*back))  # noqa: B023 - done within
        anew = LocalStorage(tmp_path / str(step), PoolId("pool-a"), RealClock())
        assert is_sound(path), step
        assert anew.restore(*back).bytes == 2 * MIB, step
        anew.drop(KEPT, SNAPSHOT)
        assert anew.restore(*back).bytes == 2 * MIB, "it was done, so there is nothing to look for"
        if not more:
            break
        step += 1
    assert step >= 4


def test_a_kill_while_an_image_goes_leaves_all_or_nothing(tmp_path) -> None:
    step, outcomes = 0, set()
    while True:
        folder = tmp_path / str(step)
        storage = LocalStorage(folder, PoolId("pool-a"), RealClock())
        storage.admit(PART, make.Depot(IMAGE).fetch)
        more = killed_before(step, lambda: storage.evict(PART.sha256))  # noqa: B023 - done within
        anew = LocalStorage(folder, PoolId("pool-a"), RealClock())
        there = PART.sha256 in anew.images()
        assert anew.strays() == [], step
        assert not list((folder / "erasing").iterdir()), step
        assert (folder / "images" / PART.sha256).exists() is there, step
        anew.admit(PART, make.Depot(IMAGE).fetch)
        anew.ensure(KEPT, 2 * MIB, PART)
        outcomes.add(there)
        if not more:
            break
        step += 1
    assert step >= 3
    assert outcomes == {True, False}


def test_a_kill_while_a_snapshot_is_brought_leaves_nothing_of_it(tmp_path) -> None:
    storage = LocalStorage(tmp_path, PoolId("pool-a"), RealClock())
    path = storage.ensure(KEPT, 1 * MIB, None).path
    storage.take(KEPT, SNAPSHOT)

    def bring() -> None:
        with storage.flat(KEPT, SNAPSHOT) as flat:
            assert sum(map(len, flat.read())) == flat.length

    step = 0
    while killed_before(step, bring):
        anew = LocalStorage(tmp_path, PoolId("pool-a"), RealClock())
        assert not list((tmp_path / "staging").iterdir()), step
        assert anew.snapshots(KEPT) == {SNAPSHOT}, step
        assert is_sound(path), step
        step += 1
    assert step >= 3
    assert not list((tmp_path / "staging").iterdir())


def test_an_image_store_survives_its_process_wherever_it_is_killed(tmp_path) -> None:
    said = PartSaid(role=PartRole.DISK, format=PartFormat.QCOW2)

    def bring(folder: Path) -> None:
        upload = ImageStore(folder).begin(said)
        for at in range(0, len(IMAGE), 100_000):
            upload.write(IMAGE[at : at + 100_000])
        upload.finish()

    step = 0
    while killed_before(step, lambda: bring(tmp_path / str(step))):  # noqa: B023 - done within
        folder = tmp_path / str(step)
        there = {path.name: path.read_bytes() for path in folder.glob("*")}
        assert there in ({}, {PART.sha256: IMAGE})
        bring(folder)
        assert ImageStore(folder).parts() == {PART.sha256}
        step += 1
    assert step >= 3


def test_a_refusal_is_no_accident_in_a_killed_process_either(tmp_path) -> None:
    # Guards the test's own means: a process that fails for another reason must not pass for one that was killed.
    def refused() -> None:
        raise BadInput("no")

    with pytest.raises(AssertionError, match="failed otherwise"):
        killed_before(0, refused)
    assert not killed_before(0, lambda: None)
