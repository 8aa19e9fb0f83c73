"""Streams and uploads of the client: going on where a stream ended, and bytes that are sent piece by piece."""

import hashlib
from itertools import islice

import httpx
import msgspec
import pytest

from arable.client import errors
from arable.client.arable import Arable
from arable.wire.events import EventOut, EventStreamQuery
from arable.wire.images import ImageIn, UploadQuery

MIB = 1 << 20


def frames(*numbers: int) -> bytes:
    told = [b": following\n\n"]
    for number in numbers:
        event = EventOut(
            number=number,
            at="2026-01-01T00:00:00Z",
            account="account-1",
            kind="machine.running",
            subject="machine-1",
            text=f"event {number}\nof two lines",
        )
        told.append(b"id: %d\nevent: x\ndata: %s\n\n" % (number, msgspec.json.encode(event)))
        told.append(b": still here\n\n")
    return b"".join(told)


def streaming(*streams: bytes | Exception):
    left, asked = list(streams), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.headers.get("last-event-id"), request.url.params.get("kind")))
        now = left.pop(0)
        if isinstance(now, Exception):
            raise now
        return httpx.Response(200, content=now, headers={"content-type": "text/event-stream"})

    return asked, Arable("http://cloud", transport=httpx.MockTransport(answer))


def test_a_stream_goes_on_from_the_last_event_when_the_server_ends_it():
    asked, client = streaming(frames(3, 4), frames(), frames(7), frames(8, 9))
    stream = client.events.stream(EventStreamQuery(kind="machine"))
    assert [each.number for each in islice(stream, 5)] == [3, 4, 7, 8, 9]
    assert asked == [(None, "machine"), ("4", "machine"), ("4", "machine"), ("7", "machine")]
    client.close()


def test_a_stream_begins_where_it_is_told_to():
    asked, client = streaming(frames(6))
    assert next(client.events.stream(last=5)).text == "event 6\nof two lines"
    assert asked == [("5", None)]
    client.close()


def test_a_stream_that_can_not_go_on_says_so_and_what_came_before_was_told():
    _, client = streaming(frames(1, 2), httpx.ConnectError("refused"))
    stream = client.events.stream()
    assert [each.number for each in islice(stream, 2)] == [1, 2]
    with pytest.raises(errors.Unreachable):
        next(stream)
    client.close()


def test_half_an_event_at_the_end_of_a_stream_is_not_told():
    cut = frames(1, 2)[: -len(b"\n: still here\n\n") - 5]
    asked, client = streaming(cut, frames(2, 3))
    assert [each.number for each in islice(client.events.stream(), 3)] == [1, 2, 3]
    assert asked[1][0] == "1"
    client.close()


def test_a_refusal_of_a_stream_is_a_refusal(served):
    with pytest.raises(errors.Unauthenticated):
        next(served.client().events.stream())


def pieces(*parts: bytes):
    yield from parts


def test_an_upload_is_sent_as_it_is_read_and_becomes_a_version(served):
    image = served.operator.images.create(ImageIn(name="mine"))
    parts = [bytes([letter]) * MIB for letter in range(8)]
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    made = served.operator.images.upload_version(
        image.id, pieces(*parts), UploadQuery(format="raw", sha256=digest)
    )
    assert (made.number, made.digest, made.bytes) == (1, digest, 8 * MIB)
    assert served.around.images.parts() == {digest}


def test_a_source_that_breaks_in_the_middle_of_an_upload_leaves_nothing(served):
    image = served.operator.images.create(ImageIn(name="mine"))

    def breaking():
        yield b"a" * MIB
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        served.operator.images.upload_version(image.id, breaking(), UploadQuery(format="raw"))
    assert served.operator.images.get(image.id).versions == ()
    assert served.around.images.parts() == set()


def test_an_upload_of_something_else_is_refused_by_field(served):
    image = served.operator.images.create(ImageIn(name="mine"))
    with pytest.raises(errors.BadInput) as caught:
        served.operator.images.upload_version(
            image.id, pieces(b"a" * MIB), UploadQuery(format="raw", sha256="0" * 64)
        )
    assert set(caught.value.fields) == {"sha256"}
    assert served.around.images.parts() == set()
