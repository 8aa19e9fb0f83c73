"""What every pool that keeps snapshots must do, judged on each of them."""

import pytest

from arable.domain.errors import Conflict, NotFound
from arable.domain.ids import OperationId, SnapshotId, VolumeId
from arable.domain.image_header import judge
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.units import MIB
from arable.drivers.storage.protocol import KeepsSnapshots, Storage
from drivers import make_drivers as make
from drivers.contract_shared import A, SharedRig


def snapshot() -> SnapshotId:
    return SnapshotId(make.fresh("snapshot"))


def operation() -> OperationId:
    return OperationId(make.fresh("operation"))


class SnapshotContract:
    """Promises of `KeepsSnapshots`."""

    def write(self, storage: Storage, volume: VolumeId, pattern: int) -> None:
        """As a guest would that has it; nobody has it open then."""
        raise AssertionError("a subclass says how a volume is written to")

    def reads(self, storage: Storage, volume: VolumeId, pattern: int) -> bool:
        """Whether a guest would see that."""
        raise AssertionError("a subclass says how a volume is read")

    @pytest.fixture
    def kept(self, storage) -> VolumeId:
        """A volume with 1 on it."""
        assert isinstance(storage, KeepsSnapshots)
        made = make.volume()
        storage.ensure(made, 8 * MIB, None)
        self.write(storage, made, 1)
        return made

    def test_a_volume_is_set_back_to_any_of_its_snapshots(self, storage, kept) -> None:
        first, second = snapshot(), snapshot()
        storage.take(kept, first)
        self.write(storage, kept, 2)
        storage.take(kept, second)
        self.write(storage, kept, 3)
        assert storage.snapshots(kept) == {first, second}
        for to, pattern in ((first, 1), (second, 2), (first, 1)):
            found = storage.restore(kept, to, 8 * MIB, operation())
            assert (found.volume, found.bytes) == (kept, 8 * MIB)
            assert self.reads(storage, kept, pattern)
        assert storage.snapshots(kept) == {first, second}

    def test_one_that_is_there_is_not_taken_again(self, storage, kept) -> None:
        taken = snapshot()
        storage.take(kept, taken)
        self.write(storage, kept, 2)
        self.again(storage).take(kept, taken)
        storage.restore(kept, taken, 8 * MIB, operation())
        assert self.reads(storage, kept, 1)

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
    def test_any_is_dropped_and_the_others_stay(self, storage, kept, order) -> None:
        taken = [snapshot() for _ in range(3)]
        for at, each in enumerate(taken):
            self.write(storage, kept, at + 1)
            storage.take(kept, each)
        self.write(storage, kept, 9)
        left = dict(enumerate(taken))
        for at in order:
            storage.drop(kept, left.pop(at))
            storage.drop(kept, taken[at])
            assert storage.snapshots(kept) == set(left.values())
            assert self.reads(storage, kept, 9)
        assert not left

    def test_the_others_of_a_dropped_one_can_be_set_back_to(self, storage, kept) -> None:
        taken = [snapshot() for _ in range(3)]
        for at, each in enumerate(taken):
            self.write(storage, kept, at + 1)
            storage.take(kept, each)
        storage.drop(kept, taken[1])
        for at in (2, 0):
            storage.restore(kept, taken[at], 8 * MIB, operation())
            assert self.reads(storage, kept, at + 1)

    def test_it_is_set_back_once_for_each_operation(self, storage, kept) -> None:
        taken, by = snapshot(), operation()
        storage.take(kept, taken)
        self.write(storage, kept, 2)
        storage.restore(kept, taken, 8 * MIB, by)
        self.write(storage, kept, 3)
        self.again(storage).restore(kept, taken, 8 * MIB, by)
        assert self.reads(storage, kept, 3)
        storage.restore(kept, taken, 8 * MIB, operation())
        assert self.reads(storage, kept, 1)

    def test_a_volume_that_grew_stays_as_large_when_it_is_set_back(self, storage, kept) -> None:
        taken = snapshot()
        storage.take(kept, taken)
        storage.ensure(kept, 16 * MIB, None)
        self.write(storage, kept, 2)
        assert storage.restore(kept, taken, 16 * MIB, operation()).bytes == 16 * MIB
        assert storage.volumes()[kept].bytes == 16 * MIB
        assert self.reads(storage, kept, 1)

    def test_a_copy_is_a_volume_of_its_own(self, storage, kept) -> None:
        taken, copied = snapshot(), make.volume()
        storage.take(kept, taken)
        self.write(storage, kept, 2)
        made = storage.copy(kept, taken, copied, 12 * MIB)
        assert (made.volume, made.bytes) == (copied, 12 * MIB)
        assert storage.volumes()[copied] == made
        assert self.reads(storage, copied, 1)
        self.write(storage, copied, 3)
        again = self.again(storage).copy(kept, taken, copied, 12 * MIB)
        assert again.path == made.path
        storage.erase(kept)
        assert self.reads(storage, copied, 3)
        assert storage.snapshots(copied) == frozenset()

    def test_a_copy_stands_over_the_image_that_its_volume_stands_over(self, storage) -> None:
        content = make.qcow2(content=b"boot me" * 5_000)
        part = make.part(content)
        storage.admit(part, make.Depot(content).fetch)
        volume, taken, copied = make.volume(), snapshot(), make.volume()
        storage.ensure(volume, 64 * MIB, part)
        storage.take(volume, taken)
        made = storage.copy(volume, taken, copied, 64 * MIB)
        assert made.used_bytes < 2 * MIB
        assert made.bytes == 64 * MIB
        storage.take(copied, snapshot())
        storage.ensure(copied, 65 * MIB, None)

    def test_what_is_brought_elsewhere_is_a_whole_image(self, storage) -> None:
        """Verified there, a volume over it begins as the snapshot, with what lay below the first one."""
        content = make.qcow2(content=b"boot me" * 5_000)
        below = make.part(content)
        storage.admit(below, make.Depot(content).fetch)
        volume, taken, other = make.volume(), snapshot(), make.volume()
        storage.ensure(volume, 8 * MIB, below)
        self.write(storage, volume, 1)
        storage.take(volume, taken)
        self.write(storage, volume, 2)
        with storage.flat(volume, taken) as flat:
            brought = b"".join(flat.read())
            assert b"".join(flat.read()) == brought
            assert len(brought) == flat.length
        size = storage.volumes()[volume].bytes
        part = ImagePart(
            role=PartRole.DISK,
            sha256=flat.sha256,
            bytes=flat.length,
            format=PartFormat.QCOW2,
            virtual_bytes=size,
        )
        storage.erase(volume)
        judge(brought, len(brought), part.role, part.format)
        storage.admit(part, make.Depot(brought).fetch)
        storage.ensure(other, 8 * MIB, part)
        assert self.reads(storage, other, 1)

    def test_nothing_is_copied_of_what_is_not_there(self, storage, kept) -> None:
        copied = make.volume()
        with pytest.raises(NotFound):
            storage.copy(kept, snapshot(), copied, 8 * MIB)
        assert copied not in storage.volumes()
        with pytest.raises(NotFound), storage.flat(kept, snapshot()):
            pass

    def test_what_is_not_there_is_said_so(self, storage, kept) -> None:
        with pytest.raises(NotFound):
            storage.restore(kept, snapshot(), 8 * MIB, operation())
        with pytest.raises(NotFound):
            storage.take(make.volume(), snapshot())
        with pytest.raises(NotFound):
            storage.snapshots(make.volume())
        assert self.reads(storage, kept, 1)

    def test_they_are_erased_with_their_volume(self, storage, kept) -> None:
        taken = snapshot()
        storage.take(kept, taken)
        storage.restore(kept, taken, 8 * MIB, operation())
        storage.erase(kept)
        storage.ensure(kept, 8 * MIB, None)
        assert storage.snapshots(kept) == frozenset()
        assert self.reads(storage, kept, 0)

    def again(self, storage: Storage) -> KeepsSnapshots:
        """Another driver object for the same pool."""
        made = self.reopened(storage)  # type: ignore[attr-defined]  # of the contract beside this one
        assert isinstance(made, KeepsSnapshots)
        return made


class SharedSnapshotContract(SnapshotContract, SharedRig):
    """The same of volumes that are served, which nobody notices who has one."""

    def test_one_that_is_served_is_kept_as_it_is_and_served_on(self, pool, right) -> None:
        (volume,) = right.volumes
        self.write(pool, volume, 1)
        at = self.given(pool, right)
        taken, other = snapshot(), snapshot()
        pool.take(volume, taken)
        pool.take(volume, other)
        pool.drop(volume, other)
        copied = pool.copy(volume, taken, make.volume(), 8 * MIB).volume
        assert self.reads(pool, copied, 1)
        assert self.lets_in(pool, at, A)
        assert pool.snapshots(volume) == {taken}
        with pytest.raises(Conflict):
            pool.restore(volume, taken, 8 * MIB, operation())
        pool.leases.release(right.machine, A, 1)
        self.write(pool, volume, 2)
        pool.restore(volume, taken, 8 * MIB, operation())
        assert self.reads(pool, volume, 1)
