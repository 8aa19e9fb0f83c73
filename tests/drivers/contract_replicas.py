"""What every pool must do of whose volumes others keep replicas, or that keeps them: judged on each of them."""

from contextlib import contextmanager, suppress

import pytest

from arable.domain.errors import CloudError, Conflict, Corrupt, NoRoom, NotFound, Unavailable
from arable.domain.ids import ReplicaId
from arable.domain.units import MIB
from arable.drivers.storage.protocol import Passing, Replicates, Storage, Stranger
from drivers import make_drivers as make
from drivers.contract_shared import A, SharedRig
from drivers.contract_snapshots import SnapshotContract, operation, snapshot


def replica() -> ReplicaId:
    return ReplicaId(make.fresh("replica"))


class ReplicaContract(SnapshotContract):
    """Promises of `Replicates`: of a volume in `storage` to `other`."""

    @pytest.fixture
    def other(self, tmp_path) -> Storage:
        """Another pool, on another host."""
        raise AssertionError("a subclass says which")

    def follow(self, storage, volume, other, by, *, image=None, spoil=None, size=8 * MIB):
        """As agents do; `spoil` gets what is passed on."""
        asked = []

        @contextmanager
        def increment(since):
            asked.append(since)
            with storage.increment(volume, by, since) as sent:
                if spoil:
                    spoil(sent)
                yield sent

        found = other.follow(volume, by, size, image, increment)
        return found, asked

    def test_what_is_promoted_is_the_last_whole_point(self, storage, other, kept) -> None:
        assert isinstance(storage, Replicates)
        by = replica()
        first, asked = self.follow(storage, kept, other, by)
        assert asked == [0]
        self.write(storage, kept, 2)
        second, asked = self.follow(storage, kept, other, by)
        assert asked == [first.point]
        assert second.point > first.point
        assert other.replicas() == {kept: second}
        assert kept not in other.volumes()
        self.write(storage, kept, 3)
        found = other.promote(kept, by, None)
        assert (found.volume, found.bytes) == (kept, 8 * MIB)
        assert self.reads(other, kept, 2)
        assert self.reads(storage, kept, 3)
        assert not other.replicas()
        self.write(other, kept, 4)
        other.promote(kept, by, None)
        assert self.reads(other, kept, 4), "once is enough"
        with pytest.raises(Stranger):
            other.promote(kept, replica(), None)
        with pytest.raises(Stranger):
            self.follow(storage, kept, other, replica())
        assert not other.snapshots(kept)

    def test_half_an_increment_is_none(self, storage, other, kept) -> None:
        by = replica()
        found, _ = self.follow(storage, kept, other, by)
        self.write(storage, kept, 2)
        for spoil in (_flip, _cut, _no_digest):
            with pytest.raises((Corrupt, Unavailable)):
                self.follow(storage, kept, other, by, spoil=spoil)
        assert other.replicas() == {kept: found}
        self.follow(storage, kept, other, by)
        other.promote(kept, by, None)
        assert self.reads(other, kept, 2)

    def test_a_replica_is_no_volume_and_keeps_its_image(self, storage, other) -> None:
        content, volume, by = make.qcow2(content=b"boot me"), make.volume(), replica()
        part, depot = make.part(content), make.Depot(content)
        storage.admit(part, depot.fetch)
        storage.ensure(volume, 8 * MIB, part)
        with pytest.raises(NotFound):
            self.follow(storage, volume, other, by, image=part)
        other.admit(part, depot.fetch)
        with pytest.raises(Corrupt):
            self.follow(storage, volume, other, by)
        self.follow(storage, volume, other, by, image=part)
        assert [each.in_use for each in other.cached()] == [True]
        with pytest.raises(Conflict):
            other.evict(part.sha256)
        with pytest.raises(Conflict):
            other.ensure(volume, 8 * MIB, part)
        other.promote(volume, by, part)
        storage.erase(volume)
        self.write(other, volume, 3)
        assert self.reads(other, volume, 3)

    def test_snapshots_come_and_go_beside_points(self, storage, other, kept) -> None:
        """And what a volume was set back to is followed as anything else."""
        by, taken = replica(), snapshot()
        storage.take(kept, taken)
        self.write(storage, kept, 2)
        self.follow(storage, kept, other, by)
        assert storage.snapshots(kept) == {taken}
        storage.restore(kept, taken, 8 * MIB, operation())
        self.follow(storage, kept, other, by)
        storage.drop(kept, taken)
        self.follow(storage, kept, other, by)
        other.promote(kept, by, None)
        assert self.reads(other, kept, 1)

    def test_a_lost_point_or_another_replica_begins_anew(self, storage, other, kept) -> None:
        by, later = replica(), replica()
        self.follow(storage, kept, other, by)
        with storage.increment(kept, later, 0):
            pass  # another host has asked: the point of the first one is dropped
        self.write(storage, kept, 2)
        found, _ = self.follow(storage, kept, other, by)
        assert found.point > 1
        self.follow(storage, kept, other, later)
        with pytest.raises(NotFound):
            other.promote(kept, by, None)
        other.erase(kept)
        assert not other.replicas()
        with pytest.raises(NotFound):
            other.promote(kept, later, None)

    def test_what_has_grown_waits_for_room(self, storage, other, kept) -> None:
        by = replica()
        first, _ = self.follow(storage, kept, other, by)
        storage.ensure(kept, 16 * MIB, None)
        with pytest.raises(NoRoom):
            self.follow(storage, kept, other, by)
        assert other.replicas() == {kept: first}
        self.follow(storage, kept, other, by, size=16 * MIB)
        assert other.promote(kept, by, None).bytes == 16 * MIB
        assert self.reads(other, kept, 1)


def _flip(sent: Passing) -> None:
    pieces = list(sent.pieces)
    pieces[-1] = pieces[-1][:-1] + bytes([pieces[-1][-1] ^ 1])
    sent.pieces = iter(pieces)


def _cut(sent: Passing) -> None:
    pieces = list(sent.pieces)
    sent.pieces = iter([*pieces[:-1], pieces[-1][: len(pieces[-1]) // 2]])


def _no_digest(sent: Passing) -> None:
    pieces = list(sent.pieces)
    sent.pieces, sent.sha256 = iter(pieces), ""


class SharedReplicaContract(ReplicaContract, SharedRig):
    """The same of volumes that are served."""

    def test_a_leased_volume_is_followed_while_it_is_written_to(self, pool, right, other) -> None:
        (volume,), by = right.volumes, replica()
        self.write(pool, volume, 1)
        at = self.given(pool, right)
        self.follow(pool, volume, other, by)
        assert self.may_write(pool, at, A)
        self.follow(pool, volume, other, by)
        assert self.may_write(pool, at, A), "it is served on"
        pool.leases.release(right.machine, A, 1)
        self.write(pool, volume, 5)
        self.follow(pool, volume, other, by)
        other.promote(volume, by, None)
        assert self.reads(other, volume, 5)
        with suppress(CloudError):
            pool.erase(volume)
