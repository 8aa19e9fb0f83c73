"""Uploads that go on where they broke off, over HTTP: offsets, cuts, two at once, strangers, limits, and the end of it."""

import hashlib
import socket
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from arable.api import adaptor
from arable.client import errors
from arable.client.arable import Arable
from arable.controllers.image_keeping import ImageKeeping
from arable.domain.ids import SegmentId
from arable.domain.image_upload import MOST
from arable.wire.accounts import AccountChange
from arable.wire.images import ImageIn, ImageUploadIn, ImageUploadQuery, UploadQuery
from arable.wire.settings import SettingsChange
from serving import Served, wait_until

MIB = 1 << 20
RAW = bytes(range(256)) * 4096 * 3  # 3 MiB
DIGEST = hashlib.sha256(RAW).hexdigest()


@pytest.fixture
def owner(served: Served) -> Arable:
    return served.customer("owner")


@pytest.fixture
def image(owner: Arable) -> str:
    return owner.images.create(ImageIn(name="mine")).id


def ask(image: str | None = None, content: bytes = RAW, **but) -> ImageUploadIn:
    usual = {
        "format": "raw",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    return ImageUploadIn(image=image, **(usual | but))


def by_hand(served: Served, who: Arable, upload: str, content: bytes = b"", **headers: str):
    said = {"content-type": "application/partial-upload"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    with served.http(served.token(who)) as http:
        return http.patch(f"/v1/image-uploads/{upload}", content=content, headers=said)


def refused(answer: httpx.Response, status: int, kind: str, field: str = "") -> dict:
    told = answer.json()
    assert (answer.status_code, told["type"]) == (status, f"urn:arable:problem:{kind}"), told
    assert [each["field"] for each in told["errors"]] == ([field] if field else [])
    return told


def test_a_file_comes_in_pieces_and_is_a_version(served, owner, image):
    begun = owner.image_uploads.create(ask(image))
    assert (begun.offset, begun.complete, begun.version) == (0, False, None)
    assert owner.image_uploads.append(begun.id, [RAW[:1000]], 0).offset == 1000
    assert owner.image_uploads.append(begun.id, [RAW[1000:MIB], RAW[MIB : 2 * MIB]], 1000)
    assert owner.images.get(image).versions == ()
    done = owner.image_uploads.append(begun.id, [RAW[2 * MIB :]], 2 * MIB)
    assert (done.offset, done.complete, done.version) == (len(RAW), True, 1)
    (version,) = owner.images.get(image).versions
    assert (version.number, version.digest, version.bytes) == (1, DIGEST, len(RAW))
    assert served.around.images.path(DIGEST).read_bytes() == RAW
    with pytest.raises(errors.Conflict):
        owner.image_uploads.append(begun.id, [], len(RAW))
    assert owner.image_uploads.get(begun.id) == done


def test_a_part_comes_in_pieces_too(owner):
    content = b"070701" + bytes(1000)
    begun = owner.image_uploads.create(ask(content=content, role="initrd", format="blob"))
    owner.image_uploads.append(begun.id, [content[:500]], 0)
    done = owner.image_uploads.append(begun.id, [content[500:]], 500)
    assert (done.complete, done.version, done.image) == (True, None, None)


def test_headers_are_those_of_the_draft(served, owner, image):
    with served.http(served.token(owner)) as http:
        body = {"image": image, "format": "raw", "sha256": DIGEST, "bytes": len(RAW)}
        begun = http.post("/v1/image-uploads", json=body)
        assert begun.status_code == 201
        path = begun.headers["location"]
        assert path == f"/v1/image-uploads/{begun.json()['id']}"
        assert begun.headers["upload-offset"] == "0"
        assert begun.headers["upload-complete"] == "?0"
        assert begun.headers["upload-length"] == str(len(RAW))
        sent = by_hand(served, owner, begun.json()["id"], RAW[:1000], upload_offset="0")
        assert sent.headers["upload-offset"] == "1000"
        head = http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert (head.headers["upload-offset"], head.headers["upload-complete"]) == ("1000", "?0")
        assert head.headers["cache-control"] == "no-store"
        done = by_hand(
            served,
            owner,
            begun.json()["id"],
            RAW[1000:],
            upload_offset="1000",
            upload_complete="?1",
        )
        assert (done.status_code, done.headers["upload-complete"]) == (200, "?1")
        assert http.head("/v1/images").status_code == 405


def test_another_offset_is_a_conflict_that_says_the_right_one(served, owner, image):
    begun = owner.image_uploads.create(ask(image))
    owner.image_uploads.append(begun.id, [RAW[:1000]], 0)
    answer = by_hand(served, owner, begun.id, RAW[500:], upload_offset="500")
    assert refused(answer, 409, "wrong-offset")["why"] == {"offset": 1000}
    assert answer.headers["upload-offset"] == "1000"
    assert owner.image_uploads.get(begun.id).offset == 1000


@pytest.mark.parametrize(
    ("headers", "status", "kind", "field"),
    [
        ({}, 400, "bad-input", "upload-offset"),
        ({"upload_offset": "-1"}, 400, "bad-input", "upload-offset"),
        ({"upload_offset": "9" * 40}, 400, "bad-input", "upload-offset"),
        ({"upload_offset": "0", "upload_complete": "yes"}, 400, "bad-input", "upload-complete"),
        ({"upload_offset": "0", "upload_complete": "?1"}, 400, "bad-input", "upload-complete"),
        ({"upload_offset": "0", "idempotency_key": "k"}, 400, "bad-input", "idempotency-key"),
        ({"upload_offset": "0", "content_type": "text/plain"}, 415, "unsupported-media-type", ""),
    ],
)
def test_what_is_said_of_a_piece_is_read_strictly(
    served, owner, image, headers, status, kind, field
):
    begun = owner.image_uploads.create(ask(image))
    refused(by_hand(served, owner, begun.id, b"a", **headers), status, kind, field)


@pytest.mark.parametrize(
    ("but", "field"),
    [
        ({"bytes": 1 << 50}, "bytes"),
        ({"format": "blob"}, "format"),
        ({"role": "kernel", "format": "blob"}, "role"),
    ],
)
def test_what_can_not_become_a_version_is_refused_before_its_first_byte(owner, image, but, field):
    with pytest.raises(errors.Refused) as caught:
        owner.image_uploads.create(ask(image, **but))
    assert set(caught.value.fields) == {field}


def test_bytes_that_are_not_what_was_said_are_forgotten(served, owner, image):
    begun = owner.image_uploads.create(ask(image))
    with pytest.raises(errors.BadInput) as caught:
        owner.image_uploads.append(begun.id, [RAW[:-1] + b"x"], 0)
    assert set(caught.value.fields) == {"sha256"}
    assert owner.image_uploads.get(begun.id).offset == 0
    assert served.around.images.parts() == frozenset()
    assert owner.image_uploads.append(begun.id, [RAW], 0).version == 1


def test_the_same_file_finds_its_upload_again_and_another_one_does_not(owner, image):
    begun = owner.image_uploads.create(ask(image))
    owner.image_uploads.append(begun.id, [RAW[:1000]], 0)
    again = owner.image_uploads.create(ask(image))
    assert (again.id, again.offset) == (begun.id, 1000)
    assert owner.image_uploads.create(ask(image, sha256="0" * 64)).id != begun.id
    assert owner.image_uploads.create(ask(image, bytes=512)).id != begun.id
    assert owner.image_uploads.create(ask(None)).id != begun.id
    found = owner.image_uploads.page(ImageUploadQuery(sha256=DIGEST, image=image)).items
    assert [(each.id, each.offset) for each in found] == [(begun.id, 1000), (found[1].id, 0)]


def test_a_file_that_the_account_has_is_not_sent_again(owner, image):
    owner.images.upload_version(image, [RAW], UploadQuery(format="raw", sha256=DIGEST))
    begun = owner.image_uploads.create(ask(image))
    assert (begun.offset, begun.complete) == (len(RAW), False)
    with pytest.raises(errors.BadInput):
        owner.image_uploads.append(begun.id, [b"x"], len(RAW))
    assert owner.image_uploads.append(begun.id, [], len(RAW)).version == 2


def test_a_file_that_somebody_else_has_is_sent_all_the_same(served, owner, image):
    """Who knows a digest does not have the file."""
    owner.images.upload_version(image, [RAW], UploadQuery(format="raw", sha256=DIGEST))
    thief = served.customer("thief")
    theirs = thief.images.create(ImageIn(name="theirs")).id
    begun = thief.image_uploads.create(ask(theirs))
    assert begun.offset == 0
    with pytest.raises(errors.WrongOffset):
        thief.image_uploads.append(begun.id, [], len(RAW))
    assert thief.images.get(theirs).versions == ()


def test_strangers_find_nothing(served, owner, image):
    begun = owner.image_uploads.create(ask(image))
    stranger = served.customer("stranger")
    for tried in (
        lambda: stranger.image_uploads.get(begun.id),
        lambda: stranger.image_uploads.append(begun.id, [RAW], 0),
        lambda: stranger.image_uploads.delete(begun.id),
        lambda: stranger.image_uploads.create(ask(image)),
    ):
        with pytest.raises(errors.NotFound):
            tried()
    assert list(stranger.image_uploads.all()) == []
    with served.http("") as http:
        assert http.head(f"/v1/image-uploads/{begun.id}").status_code == 401
    assert owner.image_uploads.get(begun.id).offset == 0


def test_what_is_under_way_counts_in_the_accounts_limit(served, owner, image):
    served.operator.settings.update(SettingsChange(values={"account_image_mib": 4}))
    begun = owner.image_uploads.create(ask(image))
    other = b"a" * 2 * MIB
    with pytest.raises(errors.LimitExceeded):
        owner.image_uploads.create(ask(image, other))
    with pytest.raises(errors.LimitExceeded):
        owner.images.upload_version(image, [other], UploadQuery(format="raw"))
    assert (
        owner.image_uploads.append(begun.id, [RAW], 0).version == 1
    )  # its own does not count twice
    with pytest.raises(errors.LimitExceeded):
        owner.image_uploads.create(ask(image, other))


def test_an_upload_that_is_given_up_counts_no_more(served, owner, image):
    served.operator.settings.update(SettingsChange(values={"account_image_mib": 4}))
    begun = owner.image_uploads.create(ask(image))
    owner.image_uploads.delete(begun.id)
    assert owner.image_uploads.create(ask(image, b"a" * 2 * MIB)).offset == 0
    with pytest.raises(errors.NotFound):
        owner.image_uploads.append(begun.id, [RAW], 0)


def test_an_account_has_so_many_and_no_more(owner, image):
    for number in range(MOST):
        owner.image_uploads.create(ask(image, sha256=f"{number:064}"))
    with pytest.raises(errors.LimitExceeded):
        owner.image_uploads.create(ask(image))
    assert owner.image_uploads.create(ask(image, sha256=f"{7:064}")).offset == 0


class Line:
    """A connection of its own, that sends some bytes of many and then does what it likes."""

    def __init__(self, served: Served, who: Arable, upload: str, offset: int, length: int) -> None:
        host, port = served.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.socket.sendall(
            f"PATCH /v1/image-uploads/{upload} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
            f"Authorization: Bearer {served.token(who)}\r\nUpload-Offset: {offset}\r\n"
            "Content-Type: application/partial-upload\r\n\r\n".encode()
        )

    def __enter__(self) -> socket.socket:
        return self.socket

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def idle(served: Served) -> bool:
    return not served.server._adaptor._in_progress


def test_what_came_before_a_connection_broke_is_kept(served, owner, image):
    begun = owner.image_uploads.create(ask(image))
    with Line(served, owner, begun.id, 0, len(RAW)) as line:
        line.sendall(RAW[: MIB + 7])
        wait_until(lambda: owner.image_uploads.get(begun.id).offset)
    wait_until(lambda: owner.image_uploads.get(begun.id).offset == MIB + 7)
    wait_until(lambda: idle(served))
    assert owner.image_uploads.append(begun.id, [RAW[MIB + 7 :]], MIB + 7).version == 1


def test_two_at_once_are_one_too_many(served, owner, image):
    begun = owner.image_uploads.create(ask(image))
    with Line(served, owner, begun.id, 0, len(RAW)) as line:
        line.sendall(RAW[:MIB])
        wait_until(lambda: owner.image_uploads.get(begun.id).offset)
        answer = by_hand(served, owner, begun.id, RAW[MIB:], upload_offset=str(MIB))
        refused(answer, 409, "in-use")
        line.sendall(RAW[MIB:])
        assert b" 200 OK" in line.recv(1000)
    assert owner.image_uploads.get(begun.id).version == 1


def test_who_is_silent_for_too_long_makes_room_for_who_comes_back(
    served, owner, image, monkeypatch
):
    monkeypatch.setattr(adaptor, "_SILENCE", 0.5)
    begun = owner.image_uploads.create(ask(image))
    with Line(served, owner, begun.id, 0, len(RAW)) as line:
        line.sendall(RAW[:MIB])
        assert b" 503 " in line.recv(1000)
        assert owner.image_uploads.append(begun.id, [RAW[MIB:]], MIB).version == 1


def test_a_server_that_does_not_see_what_came_says_who_has_it(served, owner, image):
    """Two servers whose `images/` is not the same: the one that was not asked before says so, and begins nothing."""
    begun = owner.image_uploads.create(ask(image))
    executor = served.server._adaptor._executor
    mine = executor.around
    executor.around = replace(mine, server=SegmentId("server-a"))
    owner.image_uploads.append(begun.id, [RAW[:1000]], 0)
    other = served.around.images._folder.parent / "elsewhere"
    executor.around = replace(
        mine,
        server=SegmentId("server-b"),
        partial=type(served.around.images)(other).partial,
    )
    patient = httpx.Client(base_url=served.url)
    with patient as http:
        said = {"authorization": f"Bearer {served.token(owner)}"}
        told = refused(http.get(f"/v1/image-uploads/{begun.id}", headers=said), 503, "unavailable")
    assert told["why"]["server"] == "server-a"
    assert "server-a" in told["detail"]
    answer = by_hand(served, owner, begun.id, RAW[1000:], upload_offset="1000")
    refused(answer, 503, "unavailable")
    assert owner.image_uploads.page().items[0].offset == 1000
    executor.around = replace(mine, server=SegmentId("server-c"))  # this one shares the folder
    assert owner.image_uploads.append(begun.id, [RAW[1000:]], 1000).version == 1


def keeping(served: Served, later: timedelta) -> ImageKeeping:
    class Later:
        def now(self):
            return served.around.clock.now() + later

        def monotonic(self) -> float:
            return served.around.clock.monotonic()

    def transact(work):
        with served.database.write() as tx:
            return work(tx)

    return ImageKeeping(
        *(served.database.read, transact, Later(), served.around.ids, served.around.images),
        *(lambda: (1, 0), lambda: lambda _tx: None),
        partial=served.around.partial,
    )


def test_what_nobody_goes_on_with_is_forgotten_after_a_time_that_is_set(served, owner, image):
    served.operator.settings.update(SettingsChange(values={"image_upload_seconds": 3600}))
    left = owner.image_uploads.create(ask(image))
    assert left.expires_at - left.created_at == timedelta(hours=1)
    owner.image_uploads.append(left.id, [RAW[:1000]], 0)
    done = owner.image_uploads.create(ask(None, content := b"a" * MIB))
    owner.image_uploads.append(done.id, [content], 0)
    given_up = owner.image_uploads.create(ask(image, b"b" * MIB))
    owner.image_uploads.append(given_up.id, [b"b"], 0)
    owner.image_uploads.delete(given_up.id)
    files = served.around.partial.ids
    assert set(files()) == {left.id, done.id, given_up.id}

    assert keeping(served, timedelta(minutes=59)).forget_uploads(lambda _tx: None) == 0
    assert set(files()) == {left.id}  # what is over needs none
    assert owner.image_uploads.get(left.id).offset == 1000
    assert keeping(served, timedelta(minutes=61)).forget_uploads(lambda _tx: None) == 2
    assert files() == {}
    with pytest.raises(errors.NotFound):
        owner.image_uploads.get(left.id)
    assert served.around.images.parts() == {done.sha256}


def test_an_upload_whose_file_grows_is_not_forgotten_though_its_row_is_old(served, owner, image):
    begun = owner.image_uploads.create(ask(image))
    with served.database.write() as tx:
        tx.exec_driver_sql("update image_upload set touched_at = 0")
    with Line(served, owner, begun.id, 0, len(RAW)) as line:
        line.sendall(RAW[:MIB])
        wait_until(lambda: owner.image_uploads.get(begun.id).offset)
        assert keeping(served, timedelta(0)).forget_uploads(lambda _tx: None) == 0
        line.sendall(RAW[MIB:])
        assert b" 200 OK" in line.recv(1000)


def test_an_image_is_deleted_with_what_was_on_its_way_to_it(served, owner, image):
    begun = owner.image_uploads.create(ask(image))
    owner.image_uploads.append(begun.id, [RAW[:1000]], 0)
    owner.images.delete(image)
    with pytest.raises(errors.NotFound):
        owner.image_uploads.append(begun.id, [RAW[1000:]], 1000)
    keeping(served, timedelta(0)).forget_uploads(lambda _tx: None)
    assert served.around.partial.ids() == {}


def test_an_account_that_brought_parts_can_be_deleted(served, owner, image):
    """What it brought belongs to nobody then, and is swept away."""
    owner.image_uploads.append(owner.image_uploads.create(ask(None)).id, [RAW], 0)
    owner.image_uploads.create(ask(image, b"a" * MIB))
    owner.images.delete(image)
    account = served.accounts["owner"]
    served.operator.accounts.update(account, AccountChange(enabled=False))
    served.operator.accounts.delete(account)
