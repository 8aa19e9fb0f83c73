"""What a switch may answer when it is asked for its rules; a real one is asked in `test_ovs.py`."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arable.domain.errors import Unavailable
from arable.drivers.network import flow_stats

HELLO = struct.pack("!BBHI", 5, 0, 8, 99)


def rule(cookie: int, tail: int = 32) -> bytes:
    return struct.pack("!H22xQ", 32 + tail, cookie) + bytes(tail)


def part(*rules: bytes, more: bool = False, number: int = 1) -> bytes:
    body = b"".join(rules)
    return struct.pack("!BBHIHH4x", 5, 19, 16 + len(body), number, 1, more) + body


@contextmanager
def switch(folder: Path, *said: bytes) -> Iterator[Path]:
    """It says this to the first that comes, and hangs up when that one has said all."""
    path = folder / "br.mgmt"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            talk, _ = listening.accept()
            with talk:
                talk.recv(4096)
                for each in said:
                    talk.sendall(each)
                talk.shutdown(socket.SHUT_WR)
                while talk.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


def asked(path: Path) -> Counter[int]:
    return flow_stats.cookies(path, 0xA7AB << 48, 0xFFFF << 48, 5.0)


def test_the_rules_of_all_parts_of_an_answer_are_counted(tmp_path):
    first = part(rule(7), rule(8, tail=80), rule(7), more=True)
    with switch(tmp_path, HELLO, first, part(rule(7))) as path:
        assert asked(path) == {7: 3, 8: 1}


def test_an_answer_in_pieces_is_one_answer(tmp_path):
    whole = HELLO + part(rule(1), rule(2))
    with switch(tmp_path, *(whole[at : at + 1] for at in range(len(whole)))) as path:
        assert asked(path) == {1: 1, 2: 1}


def test_what_was_not_asked_for_is_passed_over(tmp_path):
    echo, status = struct.pack("!BBHI", 5, 2, 8, 3), struct.pack("!BBHI4x", 5, 12, 12, 0)
    with switch(tmp_path, HELLO, echo, status, part(rule(4), number=2), part(rule(5))) as path:
        assert asked(path) == {5: 1}


def test_a_switch_without_rules_of_ours_has_none(tmp_path):
    with switch(tmp_path, HELLO, part()) as path:
        assert asked(path) == {}


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([], id="hangs up"),
        pytest.param([HELLO, part(rule(1))[:20]], id="hangs up half way"),
        pytest.param([HELLO, struct.pack("!BBHIHH", 5, 1, 12, 1, 1, 5)], id="refuses"),
        pytest.param([HELLO, part(rule(1)[:20])], id="ends within a rule"),
        pytest.param([HELLO, part(bytes(64))], id="says that a rule has no length"),
        pytest.param([HELLO, struct.pack("!BBHI", 1, 19, 8, 1)], id="speaks another version"),
        pytest.param([HELLO, struct.pack("!BBHI", 5, 19, 4, 1)], id="says a length too small"),
    ],
)
def test_a_switch_that_makes_no_sense_counts_as_unavailable(tmp_path, said):
    with switch(tmp_path, *said) as path, pytest.raises(Unavailable):
        asked(path)


def test_no_switch_counts_as_unavailable(tmp_path):
    with pytest.raises(Unavailable):
        asked(tmp_path / "none.mgmt")


def test_a_long_path_is_no_hindrance(tmp_path, monkeypatch):
    deep = tmp_path.joinpath(*["a folder with a name of some length"] * 4)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    with switch(Path(), HELLO, part(rule(3))):
        assert asked(deep / "br.mgmt") == {3: 1}
