"""What every pool must do of which volumes go to others, or to which they come: judged on each of them."""

from contextlib import contextmanager

import pytest

from arable.domain.errors import Corrupt, NotFound, Unavailable
from arable.domain.units import MIB
from arable.drivers.storage.protocol import Carries, InUse, Passing, Storage, Stranger
from drivers import make_drivers as make
from drivers.contract_shared import A, SharedRig
from drivers.contract_snapshots import SnapshotContract, operation, snapshot


class CarryContract(SnapshotContract):
    """Promises of `Carries`: from `storage` to `other`."""

    @pytest.fixture
    def other(self, tmp_path) -> Storage:
        """Another pool, on another host."""
        raise AssertionError("a subclass says which")

    def carry(self, storage, volume, other, *, by=None, image=None, spoil=None):
        """As agents do; `spoil` gets what is passed on."""

        @contextmanager
        def passing():
            with storage.lend(volume) as sent:
                if spoil:
                    spoil(sent)
                yield sent

        return other.take_in(volume, 8 * MIB, image, passing, by or operation())

    def test_what_comes_is_what_was_lent_with_its_snapshots(self, storage, other, kept) -> None:
        assert isinstance(storage, Carries)
        taken, by = snapshot(), operation()
        storage.take(kept, taken)
        self.write(storage, kept, 2)
        found = self.carry(storage, kept, other, by=by)
        assert (found.volume, found.bytes) == (kept, 8 * MIB)
        assert self.reads(other, kept, 2)
        assert other.snapshots(kept) == {taken}
        other.restore(kept, taken, 8 * MIB, operation())
        assert self.reads(other, kept, 1)
        assert self.reads(storage, kept, 2)
        assert kept in storage.volumes(), "it is erased by whoever says so"

    def test_it_stands_over_the_same_image_there(self, storage, other) -> None:
        content, volume = make.qcow2(content=b"boot me"), make.volume()
        part, depot = make.part(content), make.Depot(content)
        storage.admit(part, depot.fetch)
        storage.ensure(volume, 8 * MIB, part)
        with pytest.raises(NotFound):
            self.carry(storage, volume, other, image=part)
        assert volume not in other.volumes()
        other.admit(part, depot.fetch)
        with pytest.raises(Corrupt):
            self.carry(storage, volume, other)
        self.carry(storage, volume, other, image=part)
        assert [each.in_use for each in other.cached()] == [True]
        storage.erase(volume)
        storage.evict(part.sha256)
        self.write(other, volume, 3)
        assert self.reads(other, volume, 3)

    def test_once_for_each_operation_and_over_no_other_copy(self, storage, other, kept) -> None:
        by = operation()
        self.carry(storage, kept, other, by=by)
        self.write(other, kept, 5)
        self.carry(storage, kept, other, by=by, spoil=_must_not_be_read)
        with pytest.raises(Stranger):
            self.carry(storage, kept, other, spoil=_must_not_be_read)
        assert self.reads(other, kept, 5)
        other.erase(kept)
        self.carry(storage, kept, other)
        assert self.reads(other, kept, 1)

    def test_what_is_not_as_it_was_sent_leaves_nothing(self, storage, other, kept) -> None:
        before = other.usage().used_bytes
        for spoil in (_flip, _cut, _no_digest):
            with pytest.raises((Corrupt, Unavailable)):
                self.carry(storage, kept, other, spoil=spoil)
        assert kept not in other.volumes()
        assert other.usage().used_bytes <= before + MIB
        with pytest.raises(NotFound), storage.lend(make.volume()):
            pass


def _must_not_be_read(_sent: Passing) -> None:
    raise AssertionError("it was read")


def _flip(sent: Passing) -> None:
    def pieces(of):
        for piece in of:
            yield piece[:-1] + bytes([piece[-1] ^ 1])

    sent.pieces = pieces(sent.pieces)


def _cut(sent: Passing) -> None:
    def pieces(of):
        for piece in of:
            yield piece[: len(piece) // 2]
            return

    sent.pieces = pieces(sent.pieces)


def _no_digest(sent: Passing) -> None:
    pieces = list(sent.pieces)
    sent.pieces, sent.sha256 = iter(pieces), ""


class SharedCarryContract(CarryContract, SharedRig):
    """The same of volumes that are served."""

    def test_what_is_leased_is_not_lent(self, pool, right, other) -> None:
        (volume,) = right.volumes
        self.write(pool, volume, 1)
        self.given(pool, right)
        with pytest.raises(InUse):
            self.carry(pool, volume, other)
        pool.leases.release(right.machine, A, 1)
        self.carry(pool, volume, other)
        assert self.reads(other, volume, 1)
