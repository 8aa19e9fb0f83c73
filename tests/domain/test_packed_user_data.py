"""User-data that is packed by gzip: what is opened, what is refused, and that no bomb goes off."""

import base64
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.domain.errors import BadInput
from arable.domain.seed import USER_DATA_BYTES, unpacked

SCRIPT = "#!/bin/sh\necho grüße > /etc/motd\n"


def packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


@given(st.text(max_size=2000).filter(lambda text: "\0" not in text and not text.startswith("H4sI")))
def test_what_was_packed_is_what_it_was_and_text_stays_text(text) -> None:
    assert unpacked(text) == text
    assert unpacked(packed(text.encode())) == text


def test_it_may_be_in_lines_as_base64_writes_them() -> None:
    lines = "\n".join(packed(SCRIPT.encode())[at : at + 20] for at in range(0, 200, 20))
    assert unpacked(f"{lines}\n") == SCRIPT


def test_as_much_as_fits_is_taken_and_no_more() -> None:
    most = b"#" * USER_DATA_BYTES
    assert len(unpacked(packed(most))) == USER_DATA_BYTES
    with pytest.raises(BadInput, match="unpacked") as refused:
        unpacked(packed(most + b"#"))
    assert refused.value.field == "user_data"


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    bomb = packed(bytes(12 * 1024 * 1024))
    assert len(bomb) <= 16_384, "it would not get in"
    with pytest.raises(BadInput, match="when it is unpacked"):
        unpacked(bomb)


@pytest.mark.parametrize(
    "bad",
    [
        packed(SCRIPT.encode())[:-8],  # its end is missing
        packed(SCRIPT.encode())[:13] + "!" + packed(SCRIPT.encode())[14:],
        "H4sI",
        "H4sIAAAA not at all",
        base64.b64encode(gzip.compress(b"a", mtime=0) + b"more").decode(),
        packed(b"\xff\xfe"),
        packed(b"a\0b"),
        packed(packed(SCRIPT.encode()).encode()),
    ],
)
def test_what_can_not_be_opened_is_refused_and_named(bad) -> None:
    with pytest.raises(BadInput) as refused:
        unpacked(bad)
    assert refused.value.field == "user_data"
