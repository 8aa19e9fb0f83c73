"""Parts that come over many connections: whatever ends one, what came is kept, and the whole is verified or forgotten."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.errors import BadInput, InUse, NoRoom, TooLarge, WrongOffset
from arable.domain.image_files import PartSaid
from arable.domain.image_header import Limits
from arable.domain.manifest import PartFormat, PartRole
from arable.domain.units import MIB
from arable.drivers.storage.image_store import ImageStore

ID = "upload-0mh5z1x2k3q8w7e6r5t4"
KIB = 1024
INITRD = b"070701" + bytes(range(256)) * 800  # some more than the header that is judged


def said(content: bytes, role: PartRole = PartRole.INITRD, **but) -> PartSaid:
    usual = {
        "format": PartFormat.BLOB if role is not PartRole.DISK else PartFormat.RAW,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    return PartSaid(role=role, **(usual | but))


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def send(store: ImageStore, content: bytes, *, what: PartSaid | None = None, offset: int = 0):
    line = store.partial.open(ID, what or said(INITRD), offset)
    try:
        line.write(content)
        return line.done()
    finally:
        line.close()


def test_a_file_comes_over_three_connections_and_is_a_part(store) -> None:
    assert store.partial.length(ID) is None
    assert send(store, INITRD[:1000]).offset == 1000
    assert store.partial.length(ID) == 1000
    assert send(store, INITRD[1000:70_000], offset=1000).part is None
    came = send(store, INITRD[70_000:], offset=70_000)
    assert came.part.sha256 == hashlib.sha256(INITRD).hexdigest()
    assert came.part.bytes == len(INITRD)
    assert store.path(came.part.sha256).read_bytes() == INITRD
    store.partial.forget(ID)
    assert store.path(came.part.sha256).read_bytes() == INITRD
    assert store.partial.ids() == {}


def test_what_came_is_kept_when_a_connection_breaks(store) -> None:
    line = store.partial.open(ID, said(INITRD), 0)
    line.write(INITRD[:5000])
    line.close()
    assert store.partial.length(ID) == 5000
    assert store.parts() == frozenset()


@pytest.mark.parametrize("offset", [0, 999, 1001, 1 << 40])
def test_another_offset_is_refused_with_the_right_one(store, offset) -> None:
    send(store, INITRD[:1000])
    with pytest.raises(WrongOffset) as refused:
        store.partial.open(ID, said(INITRD), offset)
    assert refused.value.why == {"offset": 1000}
    assert send(store, INITRD[1000:], offset=1000).part


def test_two_can_not_bring_one_file_at_once(store) -> None:
    line = store.partial.open(ID, said(INITRD), 0)
    with pytest.raises(InUse):
        store.partial.open(ID, said(INITRD), 0)
    other = ImageStore(store._folder)  # as another server over the same folder
    with pytest.raises(InUse):
        other.partial.open(ID, said(INITRD), 0)
    line.close()
    assert send(other, INITRD).part


def test_what_is_not_the_file_is_forgotten_as_a_whole_and_can_be_brought_anew(store) -> None:
    send(store, INITRD[:1000])
    wrong = INITRD[1000:-1] + b"x"
    with pytest.raises(BadInput) as refused:
        send(store, wrong, offset=1000)
    assert refused.value.field == "sha256"
    assert store.partial.length(ID) == 0
    assert store.parts() == frozenset()
    assert send(store, INITRD).part


def test_a_header_is_refused_as_soon_as_it_is_there(store) -> None:
    content = bytes(MIB)
    what = said(content, PartRole.DISK, format=PartFormat.QCOW2)
    line = store.partial.open(ID, what, 0)
    line.write(content[: 32 * KIB])
    with pytest.raises(BadInput):
        line.write(content[: 32 * KIB])
    assert store.partial.length(ID) == 0
    with pytest.raises(InUse):
        line.write(b"more")


def test_more_than_was_said_is_refused_and_what_was_right_is_kept(store) -> None:
    line = store.partial.open(ID, said(INITRD), 0)
    line.write(INITRD[:1000])
    with pytest.raises(BadInput) as refused:
        line.write(INITRD)
    assert refused.value.field == "bytes"
    line.close()
    assert store.partial.length(ID) == 1000


def test_a_file_that_is_too_large_is_refused_before_it_comes(store) -> None:
    what = said(INITRD, limits=replace(Limits(), blob_bytes=1000))
    with pytest.raises(TooLarge):
        store.partial.open(ID, what, 0)
    assert store.partial.ids() == {}


def test_a_full_disk_keeps_what_fitted(tmp_path) -> None:
    store = ImageStore(tmp_path / "store", capacity_bytes=MIB, reserve_bytes=0)
    content = b"070701" + bytes(2 * MIB)
    line = store.partial.open(ID, said(content), 0)
    line.write(content[: 512 * KIB])
    with pytest.raises(NoRoom):
        line.write(content[512 * KIB :])
    line.close()
    assert store.partial.length(ID) == 512 * KIB
    with pytest.raises(NoRoom):
        store.partial.check_room(2 * MIB)
    assert store._room._claimed == 0


def test_the_last_step_can_be_done_again(store) -> None:
    """The server died after the part had its name, and before the store knew."""
    part = send(store, INITRD).part
    again = ImageStore(store._folder)
    assert again.partial.length(ID) == len(INITRD)
    assert send(again, b"", offset=len(INITRD)).part == part
    again.remove(part.sha256)  # swept away meanwhile
    assert send(again, b"", offset=len(INITRD)).part == part
    assert again.path(part.sha256).read_bytes() == INITRD


def test_an_upload_that_begins_anew_never_touches_a_part(store) -> None:
    """What came has the name of a part already, and is judged by another limit when it is completed again."""
    part = send(store, INITRD).part
    what = said(INITRD, sha256="0" * 64)
    with pytest.raises(BadInput):
        send(store, b"", what=what, offset=len(INITRD))
    assert store.partial.length(ID) == 0
    assert store.path(part.sha256).read_bytes() == INITRD


def test_who_is_no_root_can_complete_again_too(store) -> None:
    if os.geteuid() != 0:
        pytest.fail("this is run as root, as all of them are")
    part = send(store, INITRD).part
    script = (
        "import os,sys; sys.path.insert(0, sys.argv[3])\n"
        "from pathlib import Path\n"
        "from drivers.test_partial_files import ID, INITRD, said, send\n"
        "from arable.drivers.storage.image_store import ImageStore\n"
        "store = ImageStore(Path(sys.argv[1]))\n"
        "os.setuid(65534)\n"
        "print(send(store, b'', offset=len(INITRD)).part.sha256 == sys.argv[2])\n"
    )
    folder = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(store._folder, folder / "store")
        for each in (folder, folder / "store", *(folder / "store").iterdir()):
            os.chown(each, 65534, 65534)
        run = subprocess.run(
            [sys.executable, "-c", script, str(folder / "store"), part.sha256, "tests"],
            check=True,
            capture_output=True,
            text=True,
        )
    finally:
        shutil.rmtree(folder)
    assert run.stdout == "True\n"


def test_no_id_leads_out_of_the_folder(store) -> None:
    for id_ in ("../upload-a", "upload-", "upload-A", "upload-a/b", ""):
        with pytest.raises(BadInput):
            store.partial.length(id_)


def test_a_partial_file_is_no_part(store) -> None:
    send(store, INITRD[:1000])
    assert store.parts() == frozenset()
    assert set(store.partial.ids()) == {ID}


@dataclass(frozen=True)
class Line:
    """One connection: pieces of these lengths, and how it ends."""

    pieces: tuple[int, ...]
    ends: str
    off: int = 0  # by how much it begins elsewhere


LINES = st.lists(
    st.builds(
        Line,
        pieces=st.lists(st.integers(0, 90_000), max_size=4).map(tuple),
        ends=st.sampled_from(["done", "cut", "killed", "another server"]),
        off=st.sampled_from([0, 0, 0, 0, -1, 1, 70_000]),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(content=st.integers(1, 200_000), lines=LINES, spoil=st.booleans())
def test_any_pieces_and_any_cuts_give_the_same_bytes_or_a_clear_error(
    content: int, lines: list[Line], *, spoil: bool
) -> None:
    whole = (b"070701" + INITRD)[: 6 + content]
    what = said(whole)
    sent = whole[:-1] + bytes([whole[-1] ^ 1]) if spoil else whole
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "store"
        store = ImageStore(folder)
        here, part = 0, None
        for line in [*lines, Line((), "done"), Line((len(whole),), "done")]:
            if line.off and here + line.off >= 0:
                with pytest.raises(WrongOffset) as refused:
                    store.partial.open(ID, what, here + line.off)
                assert refused.value.why == {"offset": here}
            opened = store.partial.open(ID, what, here)
            at = here
            for length in line.pieces:
                piece = sent[at : at + length]
                opened.write(piece)
                at += len(piece)
            here = at
            if line.ends == "killed":  # the kernel closes the file, and nobody remembers anything
                os.close(opened._file)
                store = ImageStore(folder)
            elif line.ends == "done":
                try:
                    came = opened.done()
                except BadInput:
                    refused_at, here = here, 0
                    assert spoil
                    assert refused_at == len(whole)
                else:
                    assert came.offset == here
                    part = came.part or part
            else:
                opened.close()
                store = ImageStore(folder) if line.ends == "another server" else store
            assert store.partial.length(ID) == here
        if spoil:
            assert part is None
            assert store.parts() == frozenset()
        else:
            assert part is not None
            assert store.path(part.sha256).read_bytes() == whole
