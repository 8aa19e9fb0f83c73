"""Parts that arrive in chunks: whole and verified or without a name, and nothing that came is lost or believed."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from arable.domain.chunks import CHUNK, ChunkList
from arable.domain.errors import BadInput, Conflict, Corrupt, NoRoom, NotFound
from arable.domain.image_files import PartSaid
from arable.domain.manifest import PartFormat, PartRole
from arable.drivers.storage.image_store import ImageStore


def noise(count: int, seed: int = 0) -> bytes:
    return hashlib.shake_256(b"%d" % seed).digest(count)


def raw(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


CONTENT = raw(noise(4 * CHUNK) + bytes(2 * CHUNK) + noise(1000, 1))


def said(content: bytes, kind: PartFormat = PartFormat.RAW) -> PartSaid:
    sha256 = hashlib.sha256(content).hexdigest()
    return PartSaid(role=PartRole.DISK, format=kind, sha256=sha256, bytes=len(content))


def piece(content: bytes, number: int) -> bytes:
    return content[number * CHUNK : (number + 1) * CHUNK]


def bring(store: ImageStore, content: bytes) -> ChunkList:
    upload = store.begin(said(content))
    upload.write(content)
    return store.chunked.chunks(upload.finish().sha256)


@pytest.fixture
def here(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "there")


def test_a_list_is_made_once_and_goes_with_its_part(there) -> None:
    made = bring(there, CONTENT)
    assert there.chunked.chunks(made.sha256) == made
    assert there.chunked.read(made.sha256, [4, 6]) == [piece(CONTENT, 4), piece(CONTENT, 6)]
    beside = there.path(made.sha256).with_name(made.sha256 + ".chunks")
    beside.write_bytes(b"damaged")
    again = ImageStore(beside.parent)
    assert again.chunked.chunks(made.sha256) == made
    assert len(beside.read_bytes()) > 100, "it was made anew"
    there.remove(made.sha256)
    assert not beside.exists()
    with pytest.raises(NotFound):
        there.chunked.chunks(made.sha256)


def test_a_part_has_its_name_once_all_of_it_came_and_was_verified(here, there) -> None:
    made = bring(there, CONTENT)
    arrival = here.chunked.receive(said(CONTENT), made)
    assert arrival.missing() == {0, 1, 2, 3, 6}, "nothing is what a hole is"
    for number in sorted(arrival.missing(), reverse=True):
        assert not here.parts()
        arrival.put(number, piece(CONTENT, number))
    part = arrival.finish()
    arrival.close()
    assert (part.bytes, part.virtual_bytes) == (len(CONTENT), len(CONTENT))
    assert here.path(made.sha256).read_bytes() == CONTENT
    assert here.path(made.sha256).stat().st_mode & 0o777 == 0o444
    assert {path.name for path in here.path(made.sha256).parent.iterdir()} == {
        made.sha256,
        made.sha256 + ".chunks",
    }


def test_what_came_is_kept_over_a_crash_and_what_was_torn_comes_again(here, there) -> None:
    made = bring(there, CONTENT)
    arrival = here.chunked.receive(said(CONTENT), made)
    arrival.put(1, piece(CONTENT, 1))
    arrival.put(2, piece(CONTENT, 2))
    arrival.close()  # as the kernel does for a process that is killed
    file = next(here._folder.glob("*.arriving"))
    with file.open("r+b") as opened:
        opened.seek(2 * CHUNK + 5)
        opened.write(b"torn")
    assert here.chunked.kept(made.sha256) == made
    again = here.chunked.receive(said(CONTENT), made)
    assert again.missing() == {0, 2, 3, 6}
    again.close()


def test_two_never_receive_the_same_part(here, there) -> None:
    made = bring(there, CONTENT)
    first = here.chunked.receive(said(CONTENT), made)
    with pytest.raises(Conflict):
        here.chunked.receive(said(CONTENT), made)
    first.close()
    here.chunked.receive(said(CONTENT), made).close()


def test_what_other_parts_have_is_taken_from_them(here, there) -> None:
    before = raw(noise(8 * CHUNK, 7))
    # a cluster more in the middle: all others are elsewhere, and the same
    after = before[: 3 * CHUNK] + noise(CHUNK, 8) + before[3 * CHUNK :]
    bring(here, before)
    arrival = here.chunked.receive(said(after), bring(there, after))
    assert arrival.borrow() == 8 * CHUNK
    assert arrival.missing() == {3}
    arrival.put(3, piece(after, 3))
    assert arrival.finish().sha256 == said(after).sha256
    arrival.close()


def test_a_damaged_neighbour_lends_nothing(here, there) -> None:
    before = raw(noise(2 * CHUNK, 7))
    made = bring(here, before)
    path = here.path(made.sha256)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(b"rotten")
    after = before + noise(CHUNK, 8)
    arrival = here.chunked.receive(said(after), bring(there, after))
    arrival.borrow()
    assert arrival.missing() == {0, 2}
    arrival.close()


def test_a_chunk_that_is_another_is_refused(here, there) -> None:
    arrival = here.chunked.receive(said(CONTENT), bring(there, CONTENT))
    with pytest.raises(Corrupt):
        arrival.put(0, piece(CONTENT, 1))
    assert 0 in arrival.missing()
    arrival.close()


def test_a_list_that_lies_ends_in_nothing(here) -> None:
    """Every chunk is what the list says; the whole is not what was asked for (rule 7)."""
    wanted = said(CONTENT)
    other = raw(noise(len(CONTENT), 99))[: len(CONTENT)]
    pieces = [piece(other, number) for number in range(7)]
    lie = ChunkList(
        wanted.sha256 or "",
        len(CONTENT),
        b"".join(hashlib.sha256(each).digest() for each in pieces),
    )
    arrival = here.chunked.receive(wanted, lie)
    for number, data in enumerate(pieces):
        arrival.put(number, data)
    with pytest.raises(Corrupt):
        arrival.finish()
    arrival.close()
    assert not here.parts()
    assert not list(here._folder.iterdir())


def test_what_is_not_what_was_said_of_it_gets_no_name(here, there) -> None:
    arrival = here.chunked.receive(said(CONTENT, PartFormat.QCOW2), bring(there, CONTENT))
    for number in arrival.missing():
        arrival.put(number, piece(CONTENT, number))
    with pytest.raises(BadInput):
        arrival.finish()
    arrival.close()
    assert not here.parts()


def test_a_list_of_another_length_is_refused(here, there) -> None:
    made = bring(there, CONTENT)
    with pytest.raises(Corrupt):
        here.chunked.receive(
            PartSaid(role=PartRole.DISK, format=PartFormat.RAW, sha256=made.sha256, bytes=5), made
        )


def test_what_can_not_fit_is_refused_before_it_comes(tmp_path, there) -> None:
    small = ImageStore(tmp_path / "small", capacity_bytes=3 * CHUNK, reserve_bytes=0)
    made = bring(there, CONTENT)
    with pytest.raises(NoRoom):
        small.chunked.receive(said(CONTENT), made)
    small.chunked.forget(made.sha256)
    assert not list(small._folder.iterdir())


def test_a_disk_that_fills_up_keeps_what_is_on_it(here, there, monkeypatch) -> None:
    made = bring(there, CONTENT)
    arrival = here.chunked.receive(said(CONTENT), made)
    arrival.put(0, piece(CONTENT, 0))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(NoRoom):
            arrival.put(1, piece(CONTENT, 1))
    arrival.close()
    again = here.chunked.receive(said(CONTENT), made)
    assert again.missing() == {1, 2, 3, 6}
    again.close()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", range(12))
def test_wherever_its_end_is_cut_off_it_is_there_whole_or_comes_again(
    here, there, monkeypatch, at
) -> None:
    made = bring(there, CONTENT)
    arrival = here.chunked.receive(said(CONTENT), made)
    for number in arrival.missing():
        arrival.put(number, piece(CONTENT, number))
    passed = 0

    def point(real: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object, **named: object) -> object:
            nonlocal passed
            passed += 1
            if passed == at:
                raise Killed
            done = real(*args, **named)
            passed += 1
            if passed == at:
                raise Killed
            return done

        return called

    with monkeypatch.context() as patch:
        for name in ("fchmod", "utime", "fsync", "link", "ftruncate"):
            patch.setattr(os, name, point(getattr(os, name)))
        try:
            arrival.finish()
        except Killed:
            arrival.close()
    arrival.close()
    if made.sha256 not in here.parts():
        again = here.chunked.receive(said(CONTENT), made)
        assert not again.missing()
        again.finish()
        again.close()
    assert here.path(made.sha256).read_bytes() == CONTENT
