"""A pool on a real file system: the contract, and what only files, tools and threads can show."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from arable.domain.errors import (
    BadInput,
    CloudError,
    Conflict,
    Corrupt,
    NoRoom,
    NotFound,
    Unavailable,
)
from arable.domain.ids import VolumeId
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.units import GIB, MIB
from arable.drivers.storage.local import LocalStorage
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers.contract_carries import CarryContract
from drivers.contract_replicas import ReplicaContract
from drivers.contract_snapshots import operation, snapshot
from drivers.contract_storage import StorageContract

pytestmark = pytest.mark.real


def opened(directory: Path, **but: int) -> LocalStorage:
    return LocalStorage(directory, make.pool(), RealClock(), **but)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pool"


@pytest.fixture
def storage(folder: Path) -> LocalStorage:
    return opened(folder)


class TestLocal(ReplicaContract, CarryContract, StorageContract):
    """Same promises, real files."""

    @pytest.fixture
    def other(self, tmp_path) -> LocalStorage:
        return LocalStorage(tmp_path / "other", make.pool(), RealClock())

    @pytest.fixture
    def storage(self, storage: LocalStorage) -> LocalStorage:
        return storage

    def reopened(self, storage: LocalStorage) -> LocalStorage:
        return LocalStorage(storage._images_folder.parent, storage.pool, RealClock())

    def write(self, storage, volume, pattern) -> None:
        write(storage.volumes()[volume].path, pattern)

    def reads(self, storage, volume, pattern) -> bool:
        return reads(storage.volumes()[volume].path, pattern)


def tool(*command: object) -> str:
    done = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def write(path: Path, pattern: int, at: str = "0", length: str = "64k") -> None:
    """As a guest would."""
    told = tool("qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} {at} {length}", path)
    assert "wrote" in told


def reads(path: Path, pattern: int, at: str = "0", length: str = "64k") -> bool:
    """Whether a guest would see this pattern there."""
    told = tool("qemu-io", "-r", "-f", "qcow2", "-c", f"read -P {pattern} {at} {length}", path)
    return "Pattern verification failed" not in told


def admitted(storage: LocalStorage, content: bytes = b"boot me") -> ImagePart:
    image = make.qcow2(content=content)
    part = make.part(image)
    storage.admit(part, make.Depot(image).fetch)
    return part


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# Volumes


def test_a_volume_shows_the_image_under_it_and_zeros_behind(storage, tmp_path) -> None:
    part = admitted(storage, b"boot me")
    volume = storage.ensure(make.volume(), 4 * MIB, part)
    raw = tmp_path / "raw"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", volume.path, raw)
    assert raw.read_bytes() == b"boot me".ljust(4 * MIB, b"\0")


@pytest.mark.parametrize("said", [PartFormat.QCOW2, PartFormat.RAW])
def test_a_volume_says_what_it_stands_over_and_in_which_format(storage, said) -> None:
    content = make.qcow2() if said is PartFormat.QCOW2 else b"x" * MIB
    part = make.part(content, format=said)
    path = storage.admit(part, make.Depot(content).fetch)
    volume = storage.ensure(make.volume(), 4 * MIB, part)
    told = json.loads(tool("qemu-img", "info", "-f", "qcow2", "--output=json", volume.path))
    assert told["backing-filename"] == str(path)
    assert told["backing-filename-format"] == said
    assert told["virtual-size"] == 4 * MIB
    assert "no errors" in tool("qemu-img", "check", "-f", "qcow2", volume.path).lower()


def test_a_volume_is_no_smaller_than_its_image(storage) -> None:
    assert storage.ensure(make.volume(), 512, admitted(storage)).bytes == 1 * MIB


def test_a_size_is_rounded_up_to_whole_sectors(storage) -> None:
    volume = make.volume()
    assert storage.ensure(volume, MIB + 1, None).bytes == MIB + 512
    assert storage.ensure(volume, MIB + 1, None).bytes == MIB + 512


def test_growing_keeps_what_is_in_a_volume(storage) -> None:
    part = admitted(storage)
    volume = make.volume()
    path = storage.ensure(volume, 2 * MIB, part).path
    write(path, 0x5A, "1M")
    grown = storage.ensure(volume, 64 * MIB, part)
    assert (grown.path, grown.bytes) == (path, 64 * MIB)
    assert reads(path, 0x5A, "1M")
    assert reads(path, 0, "32M")
    assert "no errors" in tool("qemu-img", "check", "-f", "qcow2", path).lower()


def test_writing_to_a_volume_leaves_its_image_and_its_neighbour_alone(storage) -> None:
    part = admitted(storage, b"\x11" * 65536)
    one, other = (storage.ensure(make.volume(), 2 * MIB, part).path for _ in range(2))
    write(one, 0x5A)
    assert reads(other, 0x11)
    storage.verify(part.sha256)


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Open in another process, as a running machine has it."""
    command = ["qemu-io", "-f", "qcow2", str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as guest:
        assert guest.stdin
        assert guest.stdout
        guest.stdin.write("length\n")
        guest.stdin.flush()
        while "MiB" not in guest.stdout.readline():
            assert guest.poll() is None
        try:
            yield
        finally:
            guest.communicate("quit\n", timeout=60)


def test_a_volume_in_use_does_not_grow_and_says_why(storage) -> None:
    volume = make.volume()
    path = storage.ensure(volume, 2 * MIB, None).path
    with in_use(path):
        with pytest.raises(Conflict, match="in use"):
            storage.ensure(volume, 4 * MIB, None)
        assert storage.ensure(volume, 2 * MIB, None).bytes == 2 * MIB
    assert storage.ensure(volume, 4 * MIB, None).bytes == 4 * MIB


def test_a_kernel_is_no_disk(storage) -> None:
    content = b"\x7fELF a kernel"
    part = make.part(content, format=PartFormat.BLOB, role=PartRole.KERNEL, virtual_bytes=0)
    storage.admit(part, make.Depot(content).fetch)
    with pytest.raises(BadInput, match="no disk"):
        storage.ensure(make.volume(), MIB, part)


@pytest.mark.parametrize("size", [0, -1, -(1 << 40)])
def test_a_volume_has_a_size(storage, size) -> None:
    with pytest.raises(BadInput):
        storage.ensure(make.volume(), size, None)
    assert not storage.volumes()


BAD_IDS = ["", "volume-", "volume-../x", "../../x", "volume-a/b", "machine-a", "volume-a\n", "/x"]


@pytest.mark.parametrize("text", BAD_IDS)
def test_a_volume_s_name_leads_nowhere_else(storage, folder, text) -> None:
    before = files(folder.parent)
    for verb in (
        lambda: storage.ensure(VolumeId(text), MIB, None),
        lambda: storage.seed(VolumeId(text), "a", "b"),
        lambda: storage.erase(VolumeId(text)),
    ):
        with pytest.raises(BadInput):
            verb()
    assert files(folder.parent) == before


@pytest.mark.parametrize("text", ["", "../x", "A" * 64, "a" * 63, "/etc/passwd", "a" * 64 + "\n"])
def test_an_image_s_name_leads_nowhere_else(storage, text) -> None:
    depot = make.Depot()
    for verb in (
        lambda: storage.admit(make.part(b"", sha256=text), depot.fetch),
        lambda: storage.ensure(make.volume(), MIB, make.part(b"", sha256=text)),
        lambda: storage.verify(text),
    ):
        with pytest.raises(CloudError):
            verb()
    assert not depot.fetched


def test_a_damaged_volume_is_seen_and_never_made_anew(storage) -> None:
    volume = make.volume()
    path = storage.ensure(volume, MIB, None).path
    path.write_bytes(b"something else")
    assert storage.volumes()[volume].bytes == 0
    with pytest.raises(Corrupt):
        storage.ensure(volume, 2 * MIB, None)
    assert path.read_bytes() == b"something else"
    storage.erase(volume)
    assert not storage.volumes()


def test_a_volume_that_leads_out_of_the_pool_does_not_grow(storage, tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * MIB)
    volume = make.volume()
    path = storage.ensure(volume, MIB, None).path
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", secret, path)
    with pytest.raises(Corrupt, match="not here"):
        storage.ensure(volume, 2 * MIB, None)


# Erasing


def test_nobody_reads_an_erased_volume_not_even_who_has_it_open(storage, tmp_path) -> None:
    volume = make.volume()
    path = storage.ensure(volume, 4 * MIB, None).path
    write(path, 0x5A)
    second = tmp_path / "second"
    os.link(path, second)
    with path.open("rb") as held:
        assert b"\x5a" * 512 in held.read()
        storage.erase(volume)
        held.seek(0)
        assert held.read() == b""
    assert second.read_bytes() == b""
    assert second.stat().st_blocks == 0


def test_nobody_reads_an_erased_seed(storage) -> None:
    volume = make.volume()
    storage.ensure(volume, MIB, None)
    with storage.seed(volume, "a: 1\n", "password: secret\n").open("rb") as held:
        assert b"password: secret" in held.read()
        storage.erase(volume)
        held.seek(0)
        assert held.read() == b""


def test_erasing_gives_the_room_back(storage, folder) -> None:
    def blocks() -> int:
        return sum(path.stat().st_blocks for path in folder.rglob("*") if path.is_file())

    before = blocks()
    volume = make.volume()
    write(storage.ensure(volume, 64 * MIB, None).path, 0x5A, length="32M")
    assert blocks() - before > 32 * MIB // 512
    storage.erase(volume)
    assert blocks() == before


def test_what_was_ordered_to_be_erased_is_erased_to_the_end_at_the_next_start(folder) -> None:
    storage = opened(folder)
    volume = make.volume()
    path = storage.ensure(volume, MIB, None).path
    write(path, 0x5A)
    doomed = folder / "erasing" / path.name
    path.rename(doomed)  # as far as it got
    with doomed.open("rb") as held:
        anew = opened(folder)
        assert held.read() == b""
    assert not anew.volumes()
    assert not doomed.exists()


def test_what_is_not_understood_is_reported_and_left_alone(folder, caplog) -> None:
    storage = opened(folder)
    volume = make.volume()
    storage.ensure(volume, MIB, None)
    admitted(storage)
    lost = folder / "volumes/lost.qcow2"
    other = folder / "volumes/notes.txt"
    image = folder / "images" / ("0" * 64)
    seed = folder / "seeds/volume-gone.iso"
    strays = [image, lost, other, seed]
    for path in strays:
        path.write_bytes(b"of an operator")
    anew = opened(folder)
    assert sorted(anew.strays()) == sorted(strays)
    assert "4 files are not understood" in caplog.text
    assert "0" * 64 not in anew.images()
    assert set(anew.volumes()) == {volume}
    assert all(path.read_bytes() == b"of an operator" for path in strays)


def test_what_was_not_finished_is_dropped_at_the_next_start(folder) -> None:
    opened(folder)
    (folder / "staging/volume-a.qcow2").write_bytes(b"half")
    (folder / "staging/volume-a.seed").mkdir()
    (folder / "staging/volume-a.seed/user-data").write_text("secret")
    opened(folder)
    assert not list((folder / "staging").iterdir())


# Images


def test_a_part_is_given_to_nobody_to_write(storage) -> None:
    part = admitted(storage)
    (path,) = (storage._images_folder / part.sha256,)
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_raw_disk_that_is_a_container_is_refused(storage, folder) -> None:
    content = make.qcow2(backing=b"/etc/shadow").ljust(MIB, b"\0")
    part = make.part(content, format=PartFormat.RAW, virtual_bytes=len(content))
    with pytest.raises(Corrupt, match="qcow2"):
        storage.admit(part, make.Depot(content).fetch)
    assert not files(folder)


def test_a_depot_that_dies_in_the_middle_leaves_nothing(storage, folder) -> None:
    class DiedError(Exception):
        pass

    content = make.qcow2(content=b"x")
    part = make.part(content)

    def fetch(_sha256: str) -> Iterator[bytes]:
        yield content[:200_000]
        raise DiedError

    with pytest.raises(DiedError):
        storage.admit(part, fetch)
    assert not files(folder)
    storage.admit(part, make.Depot(content).fetch)
    assert storage.images() == {part.sha256}


def test_what_many_want_at_once_is_fetched_once(storage) -> None:
    content = make.qcow2(content=b"x")
    part, depot = make.part(content), make.Depot(content)
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _n: storage.admit(part, depot.fetch), range(16)))
    assert len(paths) == 1
    assert depot.fetched == [part.sha256]


def test_a_part_that_changed_on_the_disk_is_not_used(storage) -> None:
    part = admitted(storage)
    path = storage._images_folder / part.sha256
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(b"QFI\xfb\0\0\0\2")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert storage.images() == frozenset()
    with pytest.raises(NotFound):
        storage.ensure(make.volume(), MIB, part)
    content = make.qcow2(content=b"boot me")
    depot = make.Depot(content)
    storage.admit(part, depot.fetch)
    assert depot.fetched == [part.sha256]
    assert path.read_bytes() == content


def test_rot_that_a_glance_does_not_show_is_found_by_reading_through(storage) -> None:
    part = admitted(storage)
    path = storage._images_folder / part.sha256
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert storage.images() == {part.sha256}  # a glance
    with pytest.raises(Corrupt, match="damaged"):
        storage.verify(part.sha256)
    assert storage.images() == frozenset()
    content = make.qcow2(content=b"boot me")
    storage.admit(part, make.Depot(content).fetch)
    storage.verify(part.sha256)


@pytest.mark.parametrize("record", [None, b"", b"{}", b"\xff", b"[1]"])
def test_a_part_without_its_record_is_read_through_and_not_fetched_again(
    storage, folder, record
) -> None:
    part = admitted(storage)
    path = folder / "records" / part.sha256
    path.unlink()
    if record is not None:
        path.write_bytes(record)
    assert storage.images() == frozenset()
    depot = make.Depot()
    storage.admit(part, depot.fetch)
    assert not depot.fetched
    assert storage.images() == {part.sha256}


def test_a_part_that_is_here_is_judged_by_what_each_manifest_says_of_it(storage) -> None:
    part = admitted(storage)
    content = make.qcow2(content=b"boot me")
    depot = make.Depot(content)
    for but in ({"virtual_bytes": 2 * MIB}, {"format": PartFormat.RAW}, {"bytes": 1}):
        with pytest.raises(Corrupt):
            storage.admit(make.part(content, **but), depot.fetch)
    assert storage.images() == {part.sha256}


# Room


def test_a_reserve_is_kept_free(folder) -> None:
    free = os.statvfs(folder.parent)
    storage = opened(folder, reserve_bytes=free.f_bavail * free.f_frsize + GIB)
    content = make.qcow2()
    depot = make.Depot(content)
    with pytest.raises(NoRoom) as refused:
        storage.admit(make.part(content), depot.fetch)
    assert refused.value.why == {"needs": len(content), "free": 0}
    assert not depot.fetched
    with pytest.raises(NoRoom):
        storage.ensure(make.volume(), MIB, None)
    with pytest.raises(NoRoom):
        storage.seed(make.volume(), "a", "b")
    assert not files(folder)


def test_a_pool_holds_no_more_images_than_its_capacity(folder) -> None:
    contents = [make.qcow2(content=bytes([n])) for n in range(4)]
    size = len(contents[0])
    storage = opened(folder, capacity_bytes=int(size * 2.9), reserve_bytes=0)
    for content in contents[:2]:
        storage.admit(make.part(content), make.Depot(content).fetch)
    for content in contents[2:]:
        with pytest.raises(NoRoom):
            storage.admit(make.part(content), make.Depot(content).fetch)
    assert len(storage.images()) == 2
    seen = storage.usage()
    assert seen.total_bytes == int(size * 2.9)
    assert 2 * size <= seen.used_bytes < 2.9 * size


def test_what_a_file_system_says_of_a_volume_with_snapshots_is_said_as_we_say_it(storage) -> None:
    """Here a directory is in the file's place."""
    volume, taken, by = make.volume(), snapshot(), operation()
    path = storage.ensure(volume, 8 * MIB, None).path
    storage.take(volume, taken)
    path.rename(path.with_suffix(".aside"))
    path.mkdir()
    for ask in (
        lambda: storage.snapshots(volume),
        lambda: storage.take(volume, snapshot()),
        lambda: storage.drop(volume, taken),
        lambda: storage.restore(volume, taken, 8 * MIB, by),
        lambda: storage.copy(volume, taken, make.volume(), 8 * MIB),
    ):
        with pytest.raises(Unavailable):
            ask()
    path.rmdir()
    path.with_suffix(".aside").rename(path)
    assert storage.restore(volume, taken, 8 * MIB, by).bytes == 8 * MIB


def test_two_parts_at_once_are_not_both_promised_the_last_room(folder) -> None:
    one, other = (make.qcow2(content=bytes([n])) for n in range(2))
    storage = opened(folder, capacity_bytes=int(len(one) * 1.5), reserve_bytes=0)

    def slow(_sha256: str) -> Iterator[bytes]:
        with pytest.raises(NoRoom):
            storage.admit(make.part(other), make.Depot(other).fetch)
        yield one

    storage.admit(make.part(one), slow)
    assert storage.images() == {make.part(one).sha256}


def test_thin_volumes_promise_a_stated_multiple_and_no_more(folder) -> None:
    storage = opened(folder, capacity_bytes=100 * MIB, reserve_bytes=0, thin_times=2)

    def one(_n: int) -> bool:
        try:
            storage.ensure(make.volume(), 20 * MIB, None)
        except NoRoom:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(20))) == 10
    assert len(storage.volumes()) == 10
    volume = next(iter(storage.volumes()))
    with pytest.raises(NoRoom):
        storage.ensure(volume, 21 * MIB, None)
    with pytest.raises(NoRoom):
        storage.check_room(volume, 21 * MIB)
    storage.check_room(volume, 20 * MIB)
    assert storage.volumes()[volume].bytes == 20 * MIB
    storage.erase(volume)
    storage.ensure(make.volume(), 20 * MIB, None)


def test_a_volume_that_many_want_at_once_is_made_once(storage) -> None:
    volume = make.volume()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _n: storage.ensure(volume, MIB, None), range(8)))
    assert len({entry.path.stat().st_ino for entry in found}) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    at = tmp_path / "small"
    at.mkdir()
    tool("mount", "-t", "tmpfs", "-o", "size=4m", "arable-test", at)
    try:
        yield at
    finally:
        tool("umount", at)


def test_a_disk_that_somebody_else_fills_meanwhile_leaves_nothing_half(small_disk) -> None:
    storage = opened(small_disk / "pool", reserve_bytes=0)
    content = make.qcow2(content=b"x").ljust(2 * MIB, b"\0")
    part = make.part(content)

    def fetch(_sha256: str) -> Iterator[bytes]:
        yield content[:MIB]
        (small_disk / "other").write_bytes(b"x" * (5 * MIB // 2))
        yield content[MIB:]

    with pytest.raises(NoRoom, match="full"):
        storage.admit(part, fetch)
    assert not files(small_disk / "pool")
    (small_disk / "other").write_bytes(b"x" * (7 * MIB // 2))
    with pytest.raises(NoRoom):
        storage.ensure(make.volume(), MIB, None)
    assert not files(small_disk / "pool")
    (small_disk / "other").unlink()
    storage.admit(part, make.Depot(content).fetch)
    assert storage.ensure(make.volume(), 2 * MIB, part).bytes == 2 * MIB


def test_a_whole_file_system_counts_whoever_fills_it(small_disk) -> None:
    storage = opened(small_disk / "pool", reserve_bytes=0)
    before = storage.usage()
    (small_disk / "other").write_bytes(b"x" * MIB)
    seen = storage.usage()
    assert seen.total_bytes == before.total_bytes == 4 * MIB
    assert seen.used_bytes - before.used_bytes == MIB


def test_digests_are_of_the_bytes_that_are_read_later(storage) -> None:
    part = admitted(storage)
    path = storage._images_folder / part.sha256
    assert hashlib.sha256(path.read_bytes()).hexdigest() == part.sha256
