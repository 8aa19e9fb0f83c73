"""Image parts come in the background, survive failures, and are taken once."""

import errno
import hashlib
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent import edge
from arable.agent.download import Downloads
from arable.agent.patience import Waiting
from arable.domain.errors import Corrupt, NoRoom, Unavailable
from arable.domain.ids import PoolId
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.units import MIB
from arable.drivers.storage import verified
from arable.drivers.storage.local import LocalStorage
from arable.runtime.clock import RealClock

CONTENT = bytes(range(256)) * 8192
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Nudged:
    """Waits for what the downloads tell."""

    def __init__(self) -> None:
        self._told = threading.Semaphore(0)

    def __call__(self) -> None:
        self._told.release()

    def wait(self) -> None:
        assert self._told.acquire(timeout=edge.WITHIN)


@pytest.fixture
def server(tmp_path):
    of = edge.authority(tmp_path / "authority")
    tls = edge.server_tls(of, tmp_path / "server")
    with edge.calls(edge.Calls(of, parts={DIGEST: CONTENT}), tls) as answering:
        yield answering


@pytest.fixture
def nudged() -> Nudged:
    return Nudged()


@pytest.fixture
def downloads(tmp_path, server, nudged):
    made = opened(tmp_path, server, nudged)
    yield made
    made.close()


def opened(tmp_path, server, nudged, servers=None) -> Downloads:
    who = edge.identity(server.of, tmp_path / "agent")
    return Downloads(tmp_path / "downloads", servers or [server.address], lambda: who, nudged)


def read(downloads: Downloads) -> bytes:
    return b"".join(downloads(DIGEST))


def test_a_part_is_waited_for_and_then_taken(downloads, nudged, tmp_path) -> None:
    with pytest.raises(Waiting):
        downloads(DIGEST)
    nudged.wait()
    assert read(downloads) == CONTENT
    assert not list((tmp_path / "downloads").iterdir())


def test_a_part_is_fetched_once_for_all_who_ask_meanwhile(downloads, nudged, server) -> None:
    for _ in range(5):
        with suppress(Waiting):
            downloads(DIGEST)
    nudged.wait()
    assert read(downloads) == CONTENT
    assert len(server.asked) == 1


def test_a_broken_connection_is_told_and_continued_where_it_broke(
    downloads, nudged, server
) -> None:
    server.hang_up_after = 1_000_000
    with pytest.raises(Waiting):
        downloads(DIGEST)
    nudged.wait()
    with pytest.raises(Unavailable) as told:
        downloads(DIGEST)
    assert not isinstance(told.value, Waiting)
    with pytest.raises(Waiting):
        downloads(DIGEST)
    nudged.wait()
    assert read(downloads) == CONTENT
    (_, whole), (_, rest) = server.asked
    assert whole == ""
    assert 0 < int(rest.removeprefix("bytes=").rstrip("-")) <= 1_000_000


def test_what_was_received_survives_a_restart_of_the_agent(
    tmp_path, server, nudged, downloads
) -> None:
    server.hang_up_after = 1_000_000
    with pytest.raises(Waiting):
        downloads(DIGEST)
    nudged.wait()
    anew = opened(tmp_path, server, nudged)
    try:
        with pytest.raises(Waiting):
            anew(DIGEST)
        nudged.wait()
        assert read(anew) == CONTENT
        assert server.asked[1][1]
    finally:
        anew.close()


def test_more_than_there_is_of_a_part_is_thrown_away(downloads, nudged, tmp_path) -> None:
    (tmp_path / "downloads" / f"{DIGEST}.part").write_bytes(CONTENT + b"more")
    for failing in (True, False):
        with pytest.raises(Waiting):
            downloads(DIGEST)
        nudged.wait()
        if failing:
            with pytest.raises(Unavailable):
                downloads(DIGEST)
    assert read(downloads) == CONTENT


def test_a_part_that_was_damaged_is_gone_after_it_was_read_and_fetched_anew(
    downloads, nudged, tmp_path
) -> None:
    (tmp_path / "downloads" / DIGEST).write_bytes(b"rubbish")
    assert read(downloads) == b"rubbish"  # its digest is judged by whoever admits it
    with pytest.raises(Waiting):
        downloads(DIGEST)
    nudged.wait()
    assert read(downloads) == CONTENT


def test_an_absent_part_is_a_failure_with_a_reason(downloads, nudged, server) -> None:
    server.parts.clear()
    with pytest.raises(Waiting):
        downloads(DIGEST)
    nudged.wait()
    with pytest.raises(Unavailable, match="404"):
        downloads(DIGEST)


def test_another_server_is_asked_when_one_is_gone(tmp_path, server, nudged) -> None:
    downloads = opened(tmp_path, server, nudged, ["127.0.0.1:1", server.address])
    try:
        with pytest.raises(Waiting):
            downloads(DIGEST)
        nudged.wait()
        assert read(downloads) == CONTENT
    finally:
        downloads.close()


def test_a_server_of_another_cloud_is_not_asked_for_parts(tmp_path, server, nudged) -> None:
    other = edge.authority(tmp_path / "other")
    who = edge.identity(server.of, tmp_path / "agent", trusts=other.pem)
    downloads = Downloads(tmp_path / "downloads", [server.address], lambda: who, nudged)
    try:
        with pytest.raises(Waiting):
            downloads(DIGEST)
        nudged.wait()
        with pytest.raises(Unavailable):
            downloads(DIGEST)
        assert not server.asked
    finally:
        downloads.close()


def test_what_nobody_needs_any_more_goes(downloads, nudged, tmp_path) -> None:
    folder = tmp_path / "downloads"
    left = hashlib.sha256(b"left").hexdigest()
    for name in (left, f"{left}.part", DIGEST):
        (folder / name).write_bytes(b"what was received before")
    downloads.keep({DIGEST})
    assert [path.name for path in folder.iterdir()] == [DIGEST]


def test_one_that_is_under_way_does_not_go(downloads, nudged, server, tmp_path) -> None:
    with pytest.raises(Waiting):
        downloads(DIGEST)
    downloads.keep(set())
    nudged.wait()
    assert read(downloads) == CONTENT


@pytest.mark.real
class TestOnASmallDisk:
    """Of 4 MiB, with a part of 2 MiB to be fetched."""

    part = ImagePart(
        role=PartRole.DISK,
        sha256=DIGEST,
        bytes=len(CONTENT),
        format=PartFormat.RAW,
        virtual_bytes=len(CONTENT),
    )

    @pytest.fixture
    def home(self, tmp_path_factory) -> Iterator[Path]:
        folder = tmp_path_factory.mktemp("small")
        words = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", str(folder)]
        subprocess.run(words, check=True)
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

    @pytest.fixture
    def small(self, tmp_path, home, server, nudged) -> Iterator[Downloads]:
        who = edge.identity(server.of, tmp_path / "agent")
        made = Downloads(home / "downloads", [server.address], lambda: who, nudged)
        yield made
        made.close()

    def test_a_part_never_takes_the_room_that_guests_need(self, small, home, nudged) -> None:
        (home / "of-guests").write_bytes(bytes(2 * MIB - 65_536))
        with pytest.raises(Waiting):
            small(DIGEST)
        nudged.wait()
        with pytest.raises(NoRoom):
            small(DIGEST)
        assert not list((home / "downloads").iterdir())
        (home / "of-guests").unlink()
        with pytest.raises(Waiting):
            small(DIGEST)
        nudged.wait()
        assert read(small) == CONTENT

    def test_a_part_needs_its_room_once(self, small, home, nudged) -> None:
        storage = LocalStorage(home / "volumes", PoolId("pool-a"), RealClock())
        (home / "of-guests").write_bytes(bytes(MIB))
        with pytest.raises(Waiting):
            storage.admit(self.part, small)
        nudged.wait()
        path = storage.admit(self.part, small)
        assert path.read_bytes() == CONTENT
        assert path.stat().st_mode & 0o777 == 0o444
        assert not list((home / "downloads").iterdir())

    def test_what_is_here_of_a_part_that_comes_needs_no_more_room(
        self, small, home, nudged
    ) -> None:
        storage = LocalStorage(home / "volumes", PoolId("pool-a"), RealClock())
        (home / "downloads" / f"{DIGEST}.part").write_bytes(CONTENT[: 3 * MIB // 2])
        (home / "of-guests").write_bytes(bytes(3 * MIB // 2))
        with pytest.raises(Waiting):
            storage.admit(self.part, small)
        nudged.wait()
        assert storage.admit(self.part, small).read_bytes() == CONTENT

    def test_a_file_system_that_is_mounted_twice_is_copied_to(
        self, downloads, tmp_path, nudged, monkeypatch
    ) -> None:
        def refused(*_paths: object) -> None:
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        storage = LocalStorage(tmp_path / "volumes", PoolId("pool-a"), RealClock())
        with pytest.raises(Waiting):
            storage.admit(self.part, downloads)
        nudged.wait()
        monkeypatch.setattr(verified, "put_in_place", refused)
        assert storage.admit(self.part, downloads).read_bytes() == CONTENT

    def test_one_that_is_not_what_was_said_is_not_taken(self, small, home, nudged) -> None:
        storage = LocalStorage(home / "volumes", PoolId("pool-a"), RealClock())
        (home / "downloads" / DIGEST).write_bytes(CONTENT[:-1] + b"x")
        with pytest.raises(Corrupt):
            storage.admit(self.part, small)
        assert not storage.images()
        assert not list((home / "downloads").iterdir())
