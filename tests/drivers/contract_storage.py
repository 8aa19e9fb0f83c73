"""What every storage driver must do, judged on each of them."""

import hashlib
from pathlib import Path

import pytest

from arable.domain.errors import CloudError, Conflict, Corrupt, NoRoom, NotFound, Unavailable
from arable.domain.manifest import PartFormat, PartRole
from arable.domain.units import MIB
from arable.drivers.storage.protocol import Storage
from drivers import make_drivers as make


class StorageContract:
    """Promises of `drivers/storage/protocol.py`."""

    keeps_files = True
    """Whether paths lead to files that this test can read."""

    @pytest.fixture
    def storage(self) -> Storage:
        raise AssertionError("a subclass says which driver is judged")

    def reopened(self, storage: Storage) -> Storage:
        """Another driver object for the same pool, as after a restart of the agent."""
        raise AssertionError("a subclass says how a driver is made anew")

    def digest(self, path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest() if self.keeps_files else ""

    def test_an_image_that_nothing_stands_on_is_evicted_and_comes_again(self, storage) -> None:
        content = make.qcow2(content=b"boot me" * 5_000)
        part, depot = make.part(content), make.Depot(content)
        storage.admit(part, depot.fetch)
        (before,) = storage.cached()
        assert (before.sha256, before.length, before.in_use) == (part.sha256, len(content), False)
        volume = make.volume()
        storage.ensure(volume, 64 * MIB, part)
        with pytest.raises(Conflict):
            storage.evict(part.sha256)
        (during,) = self.reopened(storage).cached()
        assert during.in_use
        assert during.used_at >= before.used_at
        assert (storage.usage().images, storage.usage().image_bytes) == (1, len(content))
        storage.erase(volume)
        storage.evict(part.sha256)
        storage.evict(part.sha256)
        assert storage.images() == set()
        assert not storage.cached()
        assert storage.usage().images == 0
        with pytest.raises(NotFound):
            storage.ensure(make.volume(), 64 * MIB, part)
        assert storage.admit(part, depot.fetch)
        storage.ensure(volume, 64 * MIB, part)

    def test_an_admitted_part_is_there_and_is_not_fetched_again(self, storage) -> None:
        content = make.qcow2(content=b"boot me")
        part, depot = make.part(content), make.Depot(content)
        path = storage.admit(part, depot.fetch)
        assert storage.admit(part, depot.fetch) == path
        assert storage.images() == {part.sha256}
        assert depot.fetched == [part.sha256]
        if self.keeps_files:
            assert path.read_bytes() == content

    @pytest.mark.parametrize(
        ("kind", "role", "content"),
        [
            (PartFormat.RAW, PartRole.DISK, b"\0" * 511 + b"\x55" + b"\0" * 512),
            (PartFormat.BLOB, PartRole.KERNEL, b"MZ a kernel of an odd length"),
            (PartFormat.BLOB, PartRole.INITRD, b"070701 an initial file system"),
        ],
    )
    def test_parts_of_every_kind_are_admitted(self, storage, kind, role, content) -> None:
        virtual = len(content) if role is PartRole.DISK else 0
        part = make.part(content, format=kind, role=role, virtual_bytes=virtual)
        path = storage.admit(part, make.Depot(content).fetch)
        assert part.sha256 in storage.images()
        if self.keeps_files:
            assert path.read_bytes() == content

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda good: good[:-1] + bytes([good[-1] ^ 1]),
            lambda good: good[: len(good) // 2],
            lambda good: good + b"\0",
            lambda _good: b"",
        ],
        ids=["a bit flipped", "truncated", "too long", "empty"],
    )
    def test_bytes_that_are_not_what_their_digest_says_are_not_kept(self, storage, spoil) -> None:
        good = make.qcow2(content=b"boot me")
        part, depot = make.part(good), make.Depot()
        depot.serve(part.sha256, spoil(good))
        with pytest.raises(Corrupt):
            storage.admit(part, depot.fetch)
        assert storage.images() == frozenset()
        depot.serve(part.sha256, good)
        storage.admit(part, depot.fetch)
        assert storage.images() == {part.sha256}

    @pytest.mark.parametrize(
        ("content", "but"),
        [
            (b"no header at all".ljust(4096, b"\0"), {}),
            (make.qcow2(backing=b"other.raw"), {}),
            (make.qcow2(virtual_bytes=2 * MIB), {"virtual_bytes": 1 * MIB}),
        ],
        ids=["not a qcow2", "leads to another file", "another size than said"],
    )
    def test_a_disk_whose_header_is_not_as_said_is_refused(self, storage, content, but) -> None:
        part = make.part(content, **but)
        with pytest.raises(Corrupt):
            storage.admit(part, make.Depot(content).fetch)
        assert storage.images() == frozenset()

    def test_a_depot_that_does_not_answer_leaves_nothing(self, storage) -> None:
        part = make.part(make.qcow2())
        with pytest.raises(Unavailable):
            storage.admit(part, make.Depot().fetch)
        assert storage.images() == frozenset()

    def test_a_part_larger_than_the_pool_is_refused_unfetched(self, storage) -> None:
        content = make.qcow2()
        depot = make.Depot(content)
        with pytest.raises(NoRoom):
            storage.admit(make.part(content, bytes=1 << 60), depot.fetch)
        assert not depot.fetched

    def test_a_blank_volume_is_made_once(self, storage) -> None:
        volume = make.volume()
        made = storage.ensure(volume, 8 * MIB, None)
        assert (made.volume, made.bytes) == (volume, 8 * MIB)
        before = self.digest(made.path)
        again = storage.ensure(volume, 8 * MIB, None)
        assert (again.path, again.bytes) == (made.path, made.bytes)
        assert self.digest(made.path) == before
        assert list(storage.volumes()) == [volume]

    def test_a_volume_over_an_image_is_thin(self, storage) -> None:
        content = make.qcow2(content=b"boot me" * 5_000)
        part = make.part(content)
        storage.admit(part, make.Depot(content).fetch)
        made = storage.ensure(make.volume(), 64 * MIB, part)
        assert made.bytes == 64 * MIB
        assert made.used_bytes < 2 * MIB

    def test_a_volume_over_an_image_that_is_not_here_is_refused(self, storage) -> None:
        with pytest.raises(CloudError):
            storage.ensure(make.volume(), 8 * MIB, make.part(make.qcow2()))
        assert not storage.volumes()

    def test_a_volume_grows_and_never_shrinks(self, storage) -> None:
        volume = make.volume()
        storage.ensure(volume, 8 * MIB, None)
        assert storage.ensure(volume, 16 * MIB, None).bytes == 16 * MIB
        assert storage.ensure(volume, 8 * MIB, None).bytes == 16 * MIB
        assert storage.volumes()[volume].bytes == 16 * MIB

    def test_an_existing_volume_does_not_depend_on_what_it_was_made_from(self, storage) -> None:
        volume = make.volume()
        made = storage.ensure(volume, 8 * MIB, None)
        before = self.digest(made.path)
        content = make.qcow2()
        part = make.part(content)
        storage.admit(part, make.Depot(content).fetch)
        assert storage.ensure(volume, 8 * MIB, part).path == made.path
        assert self.digest(made.path) == before

    def test_a_volume_beyond_all_room_is_refused_and_leaves_nothing(self, storage) -> None:
        with pytest.raises(NoRoom):
            storage.ensure(make.volume(), 1 << 60, None)
        assert not storage.volumes()

    def test_an_erased_volume_is_gone_with_its_seed_and_others_stay(self, storage) -> None:
        kept, erased = make.volume(), make.volume()
        path = storage.ensure(kept, 1 * MIB, None).path
        gone = storage.ensure(erased, 1 * MIB, None).path
        seed = storage.seed(erased, "instance-id: a\n", "#cloud-config\n{}\n")
        for _ in range(2):
            storage.erase(erased)
            assert list(storage.volumes()) == [kept]
        if self.keeps_files:
            assert path.exists()
            assert not gone.exists()
            assert not seed.exists()

    def test_a_seed_is_kept_while_it_is_the_same_and_replaced_when_not(self, storage) -> None:
        volume = make.volume()
        storage.ensure(volume, 1 * MIB, None)
        seed = storage.seed(volume, "instance-id: a\n", "#cloud-config\n{}\n")
        before = self.digest(seed)
        assert storage.seed(volume, "instance-id: a\n", "#cloud-config\n{}\n") == seed
        assert self.digest(seed) == before
        changed = storage.seed(volume, "instance-id: b\n", "#cloud-config\n{}\n")
        if self.keeps_files:
            assert self.digest(changed) != before
            assert b"instance-id: b" in changed.read_bytes()
        assert list(storage.volumes()) == [volume]  # a seed is no volume

    def test_what_is_there_outlives_the_driver_object(self, storage) -> None:
        content = make.qcow2()
        part, depot = make.part(content), make.Depot(content)
        path = storage.admit(part, depot.fetch)
        volume = make.volume()
        made = storage.ensure(volume, 4 * MIB, part)
        anew = self.reopened(storage)
        assert anew.images() == {part.sha256}
        assert anew.admit(part, depot.fetch) == path
        assert depot.fetched == [part.sha256]
        assert anew.volumes()[volume].path == made.path
        assert anew.ensure(volume, 4 * MIB, part).path == made.path

    def test_use_is_told_for_this_pool(self, storage) -> None:
        seen = storage.usage()
        assert seen.pool == storage.pool
        assert 0 <= seen.used_bytes <= seen.total_bytes

    def test_a_view_shows_what_is_on_another_volume_and_nothing_of_that_goes_with_it(
        self, storage
    ) -> None:
        shown, first, second = (make.volume() for _ in range(3))
        with pytest.raises(NotFound):
            storage.view(first, shown)
        storage.ensure(shown, 8 * MIB, None)
        for view in (first, second, first):
            found = storage.view(view, shown)
            assert (found.bytes, found.view_of) == (8 * MIB, shown)
        anew = self.reopened(storage)
        assert {v: f.view_of for v, f in anew.volumes().items()} == {shown: None, first: shown, second: shown}  # fmt: skip
        with pytest.raises(Conflict):
            anew.erase(shown)
        for view in (first, second):
            anew.erase(view)
        assert anew.volumes().keys() == {shown}
        anew.erase(shown)
        assert not anew.volumes()
