"""The management server's image parts: complete, judged and verified, or not there at all."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arable.domain.errors import BadInput, CloudError, Conflict, NoRoom, NotFound, TooLarge
from arable.domain.image_files import ImageFiles, PartSaid, Upload
from arable.domain.image_header import Limits
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.units import GIB, MIB
from arable.drivers.storage.image_store import ImageStore
from drivers import make_drivers as make

DISK = PartSaid(role=PartRole.DISK, format=PartFormat.QCOW2)
RAW = PartSaid(role=PartRole.DISK, format=PartFormat.RAW)
KERNEL = PartSaid(role=PartRole.KERNEL, format=PartFormat.BLOB)
INITRD = PartSaid(role=PartRole.INITRD, format=PartFormat.BLOB)
IMAGE = make.qcow2(content=b"boot me")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def bring(
    store: ImageFiles, content: bytes, said: PartSaid = DISK, step: int = 50_000
) -> ImagePart:
    upload: Upload = store.begin(said)
    try:
        for at in range(0, len(content), step):
            upload.write(content[at : at + step])
        return upload.finish()
    finally:
        upload.abandon()


def is_empty(store: ImageStore) -> bool:
    """Nothing to be seen, and no nameless file held open either."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [link for link in links if link.is_relative_to(store._folder)]
    return not store.parts() and not list(store._folder.iterdir())


def test_what_is_brought_is_there_under_its_digest(store) -> None:
    part = bring(store, IMAGE)
    assert part == make.part(IMAGE)
    assert store.parts() == {digest(IMAGE)}
    assert store.path(part.sha256).read_bytes() == IMAGE
    assert store.path(part.sha256).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("step", [1_000, 65_535, 65_536, 65_537, 10**9])
def test_how_it_is_cut_into_pieces_does_not_matter(store, step) -> None:
    assert bring(store, IMAGE, step=step) == make.part(IMAGE)


@pytest.mark.parametrize(
    ("content", "said", "virtual"),
    [
        (b"\xeb" + b"\0" * 1023, RAW, 1024),
        (b"\7" * MIB, RAW, MIB),
        (b"\x7fELF a kernel", KERNEL, 0),
        (b"070701 files", INITRD, 0),
        (make.qcow2(20 * GIB), DISK, 20 * GIB),
    ],
    ids=["small raw", "raw", "kernel", "initrd", "large disk"],
)
def test_parts_of_every_kind_are_taken(store, content, said, virtual) -> None:
    part = bring(store, content, said)
    assert part == ImagePart(
        role=said.role,
        format=said.format,
        sha256=digest(content),
        bytes=len(content),
        virtual_bytes=virtual,
    )


def test_what_was_said_and_is_true_does_not_hinder(store) -> None:
    said = replace(DISK, sha256=digest(IMAGE), bytes=len(IMAGE))
    assert bring(store, IMAGE, said) == make.part(IMAGE)


REFUSALS: dict[str, tuple[bytes, PartSaid, str]] = {
    "truncated": (IMAGE[:-1], replace(DISK, bytes=len(IMAGE)), "bytes"),
    "truncated to nothing": (b"", replace(DISK, bytes=len(IMAGE)), "bytes"),
    "longer than said": (IMAGE + b"\0", replace(DISK, bytes=len(IMAGE)), "bytes"),
    "wrong checksum": (IMAGE, replace(DISK, sha256="0" * 64), "sha256"),
    "a bit flipped": (
        IMAGE[:-1] + b"\1",
        replace(DISK, sha256=digest(IMAGE), bytes=len(IMAGE)),
        "sha256",
    ),
    "no checksum at all": (IMAGE, replace(DISK, sha256="md5:1234"), "sha256"),
    "truncated without a word": (IMAGE[:70_000], DISK, "format"),
    "wrong format": (b"\0" * MIB, DISK, "format"),
    "another container": (IMAGE, RAW, "format"),
    "a disk as kernel": (IMAGE, KERNEL, "format"),
    "a kernel as disk": (b"\x7fELF", replace(KERNEL, role=PartRole.DISK), "format"),
    "leads to another file": (make.qcow2(backing=b"/etc/shadow"), DISK, "format"),
    "larger disk than allowed": (
        make.qcow2(2 * GIB),
        replace(DISK, limits=Limits(virtual_bytes=GIB)),
        "virtual_bytes",
    ),
    "larger file than allowed": (IMAGE, replace(DISK, limits=Limits(file_bytes=100_000)), "bytes"),
    "larger than allowed, as said": (IMAGE, replace(DISK, bytes=1 << 60), "bytes"),
    "shorter than nothing": (IMAGE, replace(DISK, bytes=-1), "bytes"),
    "empty": (b"", RAW, "format"),
    "half a sector": (b"\0" * 700, RAW, "format"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused_names_its_field_and_leaves_nothing(store, name) -> None:
    content, said, field = REFUSALS[name]
    with pytest.raises(BadInput) as refused:
        bring(store, content, said)
    assert refused.value.field == field
    assert is_empty(store)
    assert store._room._claimed == 0


def test_what_is_refused_does_not_touch_what_is_there(store) -> None:
    bring(store, IMAGE)
    with pytest.raises(BadInput):
        bring(store, IMAGE, RAW)
    with pytest.raises(BadInput):
        bring(store, IMAGE, replace(DISK, sha256="0" * 64))
    assert store.path(digest(IMAGE)).read_bytes() == IMAGE


@pytest.mark.parametrize("known", [True, False])
def test_something_else_is_refused_after_its_first_bytes(store, known) -> None:
    upload = store.begin(replace(DISK, bytes=1 * GIB if known else None))
    assert upload.write(b"\0" * 1000) is None
    with pytest.raises(BadInput, match="not"):
        upload.write(b"\0" * 65536)
    assert is_empty(store)


def test_an_endless_upload_ends_at_its_limit(store) -> None:
    upload = store.begin(replace(RAW, limits=Limits(file_bytes=MIB)))
    for _ in range(16):
        upload.write(b"\0" * 65536)
    with pytest.raises(TooLarge):
        upload.write(b"\0" * 512)
    assert is_empty(store)


@pytest.mark.parametrize(
    "end",
    [lambda upload: upload.abandon(), lambda upload: upload.finish()],
    ids=["given up", "done"],
)
def test_an_upload_that_has_ended_takes_no_more(store, end: Callable[[Upload], None]) -> None:
    upload = store.begin(DISK)
    upload.write(IMAGE)
    end(upload)
    before = store.parts()
    for more in (lambda: upload.write(b"more"), upload.finish):
        with pytest.raises(Conflict):
            more()
    upload.abandon()
    assert store.parts() == before


def test_an_upload_after_a_refusal_takes_no_more(store) -> None:
    upload = store.begin(DISK)
    with pytest.raises(BadInput):
        upload.write(b"\0" * 65536)
    with pytest.raises(Conflict):
        upload.finish()


def test_an_upload_that_is_forgotten_leaves_nothing(store) -> None:
    upload = store.begin(DISK)
    upload.write(IMAGE)
    assert not store.parts()
    upload.abandon()
    upload.abandon()
    assert is_empty(store)


def test_the_same_bytes_brought_by_many_at_once_are_there_once(store) -> None:
    start = threading.Barrier(8)

    def one(_n: int) -> ImagePart:
        start.wait(60)
        return bring(store, IMAGE)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(8))) == {make.part(IMAGE)}
    assert store.parts() == {digest(IMAGE)}
    assert len(list(store._folder.iterdir())) == 1


def test_who_fails_with_the_same_bytes_does_not_take_them_from_others(store) -> None:
    slow = store.begin(replace(DISK, sha256="0" * 64))
    slow.write(IMAGE)
    bring(store, IMAGE)
    with pytest.raises(BadInput):
        slow.finish()
    assert store.parts() == {digest(IMAGE)}


def test_another_server_on_the_same_folder_sees_the_same(store) -> None:
    bring(store, IMAGE)
    other = ImageStore(store._folder)
    assert other.parts() == {digest(IMAGE)}
    other.remove(digest(IMAGE))
    assert not store.parts()


def test_a_full_store_refuses_before_it_takes_anything(tmp_path) -> None:
    store = ImageStore(tmp_path / "s", capacity_bytes=len(IMAGE) * 3 // 2, reserve_bytes=0)
    bring(store, IMAGE, replace(DISK, bytes=len(IMAGE)))
    other = make.qcow2(content=b"another")
    with pytest.raises(NoRoom):
        store.begin(replace(DISK, bytes=len(other)))
    assert store.parts() == {digest(IMAGE)}
    store.remove(digest(IMAGE))
    bring(store, other, replace(DISK, bytes=len(other)))
    assert store.parts() == {digest(other)}


def test_a_store_that_gets_full_on_the_way_refuses_and_leaves_nothing(tmp_path) -> None:
    store = ImageStore(tmp_path / "s", capacity_bytes=MIB, reserve_bytes=0)
    with pytest.raises(NoRoom):
        bring(store, b"\0" * (2 * MIB), RAW)
    assert is_empty(store)
    assert store._room._claimed == 0


def test_a_small_image_of_unknown_size_fits_a_small_store(tmp_path) -> None:
    store = ImageStore(tmp_path / "s", capacity_bytes=MIB, reserve_bytes=0)
    assert bring(store, IMAGE) == make.part(IMAGE)


def test_a_reserve_of_the_disk_is_kept_free(tmp_path) -> None:
    store = ImageStore(tmp_path / "s", reserve_bytes=1 << 60)
    with pytest.raises(NoRoom):
        bring(store, IMAGE)


# By path, for operators


def test_a_file_of_the_machine_is_copied_in(store, tmp_path) -> None:
    path = tmp_path / "image"
    path.write_bytes(IMAGE)
    part = store.admit_path(path, DISK)
    assert part == make.part(IMAGE)
    path.write_bytes(b"changed")
    assert store.path(part.sha256).read_bytes() == IMAGE


def test_a_file_of_the_machine_is_judged_as_an_upload_is(store, tmp_path) -> None:
    path = tmp_path / "image"
    for content, said, field in REFUSALS.values():
        path.write_bytes(content)
        with pytest.raises(BadInput) as refused:
            store.admit_path(path, said)
        assert refused.value.field == field
        assert is_empty(store)


def test_what_is_no_plain_file_is_refused(store, tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, tmp_path / "absent", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(BadInput) as refused:
            store.admit_path(path, RAW)
        assert refused.value.field == "path"
        assert is_empty(store)


# By name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "A" * 64, "0" * 63, "0" * 65, "/etc/passwd"]
)
def test_only_a_digest_is_a_name(store, tmp_path, name) -> None:
    (tmp_path / "x").write_bytes(b"not yours")
    with pytest.raises(NotFound):
        store.path(name)
    with pytest.raises(BadInput):
        store.remove(name)
    assert (tmp_path / "x").exists()


def test_what_is_removed_is_gone_and_who_reads_it_reads_on(store) -> None:
    part = bring(store, IMAGE)
    with store.path(part.sha256).open("rb") as reading:
        for _ in range(2):
            store.remove(part.sha256)
        assert reading.read() == IMAGE
    assert not store.parts()
    with pytest.raises(NotFound):
        store.path(part.sha256)


def test_other_files_in_the_folder_are_no_parts(store) -> None:
    (store._folder / "lost+found").mkdir()
    (store._folder / "notes").write_text("x")
    assert not store.parts()


@given(
    content=st.one_of(
        st.binary(max_size=2000), st.binary(max_size=200).map(lambda tail: IMAGE[:72] + tail)
    ),
    said=st.builds(
        PartSaid,
        role=st.sampled_from(PartRole),
        format=st.sampled_from(PartFormat),
        sha256=st.none() | st.text(max_size=70),
        bytes=st.none() | st.integers(-10, 3000),
    ),
    step=st.integers(1, 1000),
)
@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_anything_is_either_taken_as_it_is_or_refused_without_a_trace(
    store, content, said, step
) -> None:
    before = store.parts()
    try:
        part = bring(store, content, said, step)
    except CloudError:
        assert store.parts() == before
        assert store._room._claimed == 0
        return
    assert store.path(part.sha256).read_bytes() == content
    assert part.sha256 == digest(content)
