"""Parts as chunks: lists that fit, questions that say what they mean, and nothing believed of what comes over a wire."""

import hashlib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain import chunks as cut
from arable.domain.chunks import CHUNK, ChunkList
from arable.domain.errors import BadInput, Corrupt


def listed(content: bytes) -> ChunkList:
    pieces = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
    return cut.list_of(hashlib.sha256(content).hexdigest(), len(content), pieces)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_list_is_read_as_it_was_written(size) -> None:
    made = listed(b"\7" * size)
    assert cut.decode(made.encode()) == made
    assert sum(made.length(number) for number in range(len(made))) == size
    assert len(made.encode()) == cut.most_of_list(size)


def test_a_list_that_is_cut_off_or_something_else_is_none() -> None:
    whole = listed(b"\7" * 3 * CHUNK).encode()
    for bad in (b"", whole[:20], whole[:-1], whole + b"\0", b"x" + whole[1:]):
        with pytest.raises(Corrupt):
            cut.decode(bad)


def test_a_chunk_is_what_the_list_says_or_it_is_refused() -> None:
    made = listed(b"a" * CHUNK + b"b" * 10)
    made.check(1, b"b" * 10)
    for number, data in ((1, b"b" * 9), (0, b"b" * CHUNK), (2, b""), (-1, b"b" * 10)):
        with pytest.raises(Corrupt):
            made.check(number, data)


@given(st.sets(st.integers(0, 600)))
def test_what_is_missing_is_asked_for_once_in_pieces_that_are_not_too_large(missing) -> None:
    asked = cut.requests(missing)
    assert [number for request in asked for number in request] == sorted(missing)
    assert all(0 < len(request) <= cut.TOGETHER for request in asked)
    for request in asked:
        assert cut.read(cut.written(request), 601) == request


@given(st.text("0123456789,- x", max_size=30))
def test_whatever_is_asked_for_is_answered_or_refused(text) -> None:
    try:
        found = cut.read(text, 50)
    except BadInput:
        return
    assert list(found) == sorted(set(found))
    assert all(0 <= number < 50 for number in found)


def test_nobody_asks_for_a_whole_disk_at_once() -> None:
    with pytest.raises(BadInput, match="at most"):
        cut.read("0-99999", 1 << 20)


@settings(max_examples=30)
@given(
    st.lists(st.one_of(st.just(b"\0" * CHUNK), st.binary(max_size=2000)), max_size=5),
    st.integers(1, 70_000),
)
def test_chunks_come_out_as_they_went_in_however_they_are_cut_on_the_way(sent, step) -> None:
    stream = b"".join(cut.packed(number, data) for number, data in enumerate(sent))
    pieces = (stream[at : at + step] for at in range(0, len(stream), step))
    assert list(cut.unpacked(pieces, range(len(sent)))) == list(enumerate(sent))


def test_what_compresses_is_sent_small_and_the_rest_as_it_is() -> None:
    noise = hashlib.shake_256(b"noise").digest(CHUNK)
    assert len(cut.packed(0, b"a" * CHUNK)) < 1000
    assert len(cut.packed(0, noise)) < CHUNK + 100


def test_what_was_not_asked_for_is_refused() -> None:
    with pytest.raises(Corrupt):
        list(cut.unpacked([cut.packed(5, b"hello")], {4}))


def test_nothing_that_is_larger_than_a_chunk_is_unpacked() -> None:
    bomb = zlib.compress(bytes(100 * CHUNK), 9)
    with pytest.raises(Corrupt, match="larger"):
        list(cut.unpacked([cut._FRAME.pack(0, len(bomb), 1) + bomb], {0}))
    with pytest.raises(Corrupt):
        list(cut.unpacked([cut._FRAME.pack(0, CHUNK + 1, 0)], {0}))
    with pytest.raises(Corrupt):
        list(cut.unpacked([cut._FRAME.pack(0, 4, 1) + b"junk"], {0}))


def test_what_is_cut_off_ends_early() -> None:
    stream = cut.packed(0, b"one") + cut.packed(1, b"two")
    assert list(cut.unpacked([stream[:-1]], {0, 1})) == [(0, b"one")]
