"""Files and consoles that are meant for another region: over a real grid port, with the limits and rights of both."""

import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from make_regions import noise
from passing_on import Two, hung_up
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from arable.api import console, passed_files
from arable.client.arable import Arable
from arable.client.errors import (
    BadInput,
    CallError,
    Forbidden,
    InUse,
    NotFound,
    Unavailable,
    WrongOffset,
)
from arable.client.sending import send
from arable.domain.grid import Peer
from arable.store import grid as store_grid
from arable.wire.images import FromPartsIn, ImageIn, ImageUploadIn, UploadQuery
from cli.command_line import as_user


def said(content: bytes, **but: Any) -> UploadQuery:
    return UploadQuery(format="raw", sha256=hashlib.sha256(content).hexdigest(), **but)


# --- files


def test_a_file_goes_through_piece_by_piece(two):
    content = noise(3 << 20)
    alice = two.alice()
    image = alice.images.create(ImageIn(name="far"))
    pieces = (content[at : at + 70_000] for at in range(0, len(content), 70_000))
    made = alice.images.upload_version(image.id, pieces, said(content))
    assert made.digest == hashlib.sha256(content).hexdigest()
    assert [v.digest for v in two.south.clients["0"].images.get(image.id).versions] == [made.digest]
    assert not list(two.north.around.images._folder.rglob(made.digest)), "north kept none of it"


def test_parts_go_through_as_well(two):
    alice = two.alice()
    image = alice.images.create(ImageIn(name="far-parts"))
    blobs = {"kernel": b"\x7fELF" + bytes(5000), "initrd": b"070701" + bytes(7000)}
    made = [
        alice.image_parts.upload(
            [blob],
            UploadQuery(format="blob", role=role, sha256=hashlib.sha256(blob).hexdigest()),
        ).sha256
        for role, blob in blobs.items()
    ]
    assert alice.images.create_from_parts(image.id, FromPartsIn(parts=tuple(made))).number == 1


def test_what_is_refused_there_is_told_and_leaves_nothing(two):
    alice = two.alice()
    image = alice.images.create(ImageIn(name="far-refused"))
    before = two.kept()
    content = noise(1 << 20, 2)
    with pytest.raises(BadInput, match="not what was said"):
        alice.images.upload_version(image.id, [content], said(content[:-512]))
    with pytest.raises(NotFound):
        alice.images.upload_version("image-nobodys", [content], said(content))
    with pytest.raises(BadInput):
        alice.images.upload_version(image.id, [b"x"], UploadQuery(format="qcow2"))
    assert two.kept() == before


def test_who_is_not_let_in_sends_nothing(two):
    with Arable(two.north.url) as here:
        token = here.sign_in("bob", "a password of a test").token
    with Arable(two.north.url, token, region="south") as bob, pytest.raises(Forbidden):
        bob.image_parts.upload([b"x" * 4096], said(b"x" * 4096))


def test_a_file_whose_sender_goes_away_leaves_nothing(two):
    alice = two.alice()
    image = alice.images.create(ImageIn(name="far-broken"))
    before = two.kept()

    def breaks() -> Iterator[bytes]:
        yield noise(1 << 20, 3)
        raise OSError("the line is cut")

    with pytest.raises((OSError, CallError)):
        alice.images.upload_version(image.id, breaks(), said(b""))
    content = noise(4096, 4)
    alice.images.upload_version(image.id, [content], said(content))
    settled(lambda: len(two.kept()) <= len(before) + 2)


def test_a_file_that_comes_to_a_stop_is_given_up(two, monkeypatch):
    """A WAN that is cut says nothing to anybody: who waits gives up by itself."""
    monkeypatch.setattr(passed_files, "PAUSE", 0.05)
    alice = two.alice()
    image = alice.images.create(ImageIn(name="far-stalled"))
    before, over = two.kept(), threading.Event()

    def stalls() -> Iterator[bytes]:
        yield noise(1 << 20, 5)
        over.wait(30)
        yield noise(4 << 20, 5)

    async def given_up(_file: Any) -> None:
        over.set()

    monkeypatch.setattr(passed_files.PassedFile, "rest", given_up)
    with pytest.raises(CallError):
        alice.images.upload_version(image.id, stalls(), UploadQuery(format="raw"))
    settled(lambda: two.kept() == before)


def test_a_file_that_broke_off_on_the_way_goes_on_there(two):
    """Half of it comes, then the sender is gone; what came is the other region's, which says how much that is."""
    alice = two.alice()
    image = alice.images.create(ImageIn(name="far-in-parts"))
    content = noise(3 << 20, 8)
    digest = hashlib.sha256(content).hexdigest()
    ask = ImageUploadIn(image=image.id, format="raw", sha256=digest, bytes=len(content))
    begun = alice.image_uploads.create(ask)
    there = two.south.around.partial

    def breaks() -> Iterator[bytes]:
        yield content[: 2 << 20]
        settled(lambda: (there.length(begun.id) or 0) >= 1 << 20)
        raise OSError("the line is cut")

    with pytest.raises((OSError, CallError)):
        alice.image_uploads.append(begun.id, breaks(), 0)
    with pytest.raises((WrongOffset, InUse)):
        alice.image_uploads.append(begun.id, [content], 0)
    with two.north.http(alice.connection.token) as http:
        head = http.head(f"/v1/image-uploads/{begun.id}", headers={"arable-region": "south"})
    assert int(head.headers["upload-offset"]) >= 1 << 20
    assert head.headers["upload-complete"] == "?0"
    assert send(alice, ask, io.BytesIO(content)).version == 1
    assert alice.images.get(image.id).versions[0].digest == digest
    assert two.north.around.partial.ids() == {}, "north kept none of it"


def test_a_region_that_cannot_be_reached_takes_no_file(two):
    content = noise(4096, 6)
    with two.north.database.write() as tx:
        gone = Peer(name="oslo", url="https://127.0.0.1:1", fingerprint="f", authority="a")
        store_grid.put_peers(tx, [gone])
    with pytest.raises(Unavailable, match="oslo can't be reached"):
        two.alice("oslo").image_parts.upload([content], said(content))


def settled(condition: Any) -> None:
    from serving import wait_until

    wait_until(condition)


# --- consoles


def ticket(two: Two, region: str = "south") -> str:
    alice = two.alice(region)
    (machine,) = alice.machines.all()
    found = alice.machines.console(machine.id).ticket
    assert found
    return found


def opened(url: str, shown: str) -> Any:
    return connect(f"ws{url.removeprefix('http')}/v1/console/{shown}", proxy=None, compression=None)


def closed(socket: Any) -> int:
    """With which code it ends."""
    try:
        while True:
            socket.recv(30)
    except ConnectionClosed as over:
        return over.rcvd.code if over.rcvd else 0


def test_a_console_is_passed_on(two):
    with opened(two.north.url, ticket(two)) as socket:
        socket.send(b"hello")
        assert socket.recv(30) == b"HELLO"
        socket.send(b"bye")
        assert closed(socket) == 1000


def test_a_terminal_and_a_script_have_both(two, tmp_path):
    """`arable` with `--region`."""
    disk = tmp_path / "disk.raw"
    disk.write_bytes(noise(8192, 7))
    arable = as_user(two.north, tmp_path, two.alice().connection.token)
    made = arable("image", "upload", "far-cli", str(disk), "--create", "--region", "south", "--output", "json")  # fmt: skip
    assert made.json["digest"] == hashlib.sha256(disk.read_bytes()).hexdigest()
    assert [each["name"] for each in arable("zone", "list", "--region", "south", "--output", "json").json]  # fmt: skip
    words = ("machine", "deploy", "more", "--image", "tiny", "--offering", "tiny", "--region", "south", "--no-wait")  # fmt: skip
    refused = arable(*words, "--zone", "nowhere", status=None)
    assert refused.status != 0
    assert "zone" in refused.err
    arable(*words, "--zone", "east", "--dry-run")
    done = subprocess.run(
        [sys.executable, "-m", "arable.processes.main", "machine", "console", "web", "--region", "south"],
        input=b"from a script bye",
        capture_output=True,
        env={**os.environ, **arable.environment, "HOME": str(tmp_path)},
        timeout=60,
        check=False,
    )  # fmt: skip
    assert b"FROM A SCRIPT BYE" in done.stdout, done.stderr


def test_a_ticket_counts_once_and_at_its_own_door(two):
    given = ticket(two)
    with pytest.raises(InvalidStatus):
        opened(two.south.url, given)
    with opened(two.north.url, given):
        pass
    with pytest.raises(InvalidStatus):
        opened(two.north.url, given)


def test_a_ticket_that_was_given_for_another_region_opens_no_public_door(two):
    """What south gave for north's user is of use at the grid port alone, and only to north."""
    visit = console.Visit("user-x", "machine-x", "host-x", "north")  # type: ignore[arg-type]
    given = two.south.around.consoles.issue(visit)
    with pytest.raises(InvalidStatus):
        opened(two.south.url, given)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = two.south.around.consoles.issue(visit)
    two.run(two.machine.consoles.from_elsewhere("york", given, receive, send))
    assert [each["type"] for each in sent] == ["websocket.close"]


def test_who_may_not_there_gets_no_ticket(two):
    with Arable(two.north.url) as here:
        token = here.sign_in("bob", "a password of a test").token
    (machine,) = two.alice().machines.all()
    with Arable(two.north.url, token, region="south") as bob, pytest.raises(Forbidden):
        bob.machines.console(machine.id)


def test_a_console_ends_with_a_word_when_the_way_does(two):
    with opened(two.north.url, ticket(two)) as socket:
        socket.send(b"still here")
        assert socket.recv(30) == b"STILL HERE"
        two.run(hung_up(two.port))
        assert closed(socket) in (1012, console.TRY_LATER)
