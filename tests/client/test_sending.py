"""The client sends a file until all of it is there, whatever happens on the way, and no byte twice without need."""

import hashlib
import io

import httpx
import pytest

from arable.client import errors
from arable.client.arable import Arable
from arable.client.patience import NONE, Patience
from arable.client.sending import Told, send
from arable.wire.images import ImageIn, ImageUploadIn, ImageUploadOut
from serving import Served

MIB = 1 << 20
STRIDE = 256 << 10
RAW = hashlib.shake_256(b"a disk").digest(2 * MIB)


class Bad(httpx.BaseTransport):
    """A line that fails as it is told: for each call one of `ends`, then none."""

    def __init__(self, ends: list[str]) -> None:
        self.ends = ends
        self.real = httpx.HTTPTransport()
        self.sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        how = self.ends.pop(0) if self.ends and request.method == "PATCH" else ""
        body = request.read()
        if how == "never sent":
            raise httpx.ConnectError("refused", request=request)
        if how == "half":
            half = httpx.Request(
                "PATCH", request.url, headers=request.headers, content=self._cut(body)
            )
            half.headers["content-length"] = str(len(body) // 2)
            self._pass(half)
            raise httpx.WriteError("broken pipe", request=request)
        if how in ("502", "503"):
            return httpx.Response(int(how), content=b"a proxy says so", request=request)
        answer = self._pass(request)
        if how == "answer lost":
            answer.read()
            raise httpx.ReadError("reset", request=request)
        return answer

    def _cut(self, body: bytes) -> bytes:
        return body[: len(body) // 2]

    def _pass(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        if request.method == "PATCH":
            self.sent += len(body)
        made = httpx.Request(
            request.method,
            request.url,
            headers={k: v for k, v in request.headers.items() if k != "transfer-encoding"},
            content=body or None,
        )
        made.extensions = request.extensions
        answer = self.real.handle_request(made)
        answer.read()
        return answer

    def close(self) -> None:
        self.real.close()


def sending(served: Served, ends: list[str], *, left: list[ImageUploadOut] | None = None, **but):
    """`left`: gets the uploads that are there in the end, whatever the end is."""
    line = Bad(ends)
    client = served.customer("sender")
    token = served.token(client)
    image = client.images.create(ImageIn(name="mine")).id
    heard: list[int] = []
    troubles: list[str] = []
    told = Told(sent=heard.append, again=lambda error: troubles.append(type(error).__name__))
    patience = but.pop("patience", Patience(tries=8, pause=lambda _seconds: None))
    ask = ImageUploadIn(
        **(
            {
                "image": image,
                "format": "raw",
                "sha256": hashlib.sha256(RAW).hexdigest(),
                "bytes": len(RAW),
            }
            | but
        )
    )
    with Arable(served.url, token, transport=line, patience=NONE) as bad:
        try:
            made = send(bad, ask, io.BytesIO(RAW), told=told, stride=STRIDE, patience=patience)
        finally:
            if left is not None:
                left[:] = client.image_uploads.all()
    version = next(v for v in client.images.get(image).versions if v.number == made.version)
    return version, line.sent, heard, troubles


def test_a_good_line_brings_each_byte_once(served):
    version, sent, heard, troubles = sending(served, [])
    assert (version.number, version.bytes) == (1, len(RAW))
    assert sent == len(RAW)
    assert heard[-1] == len(RAW)
    assert heard == sorted(heard)
    assert troubles == []


@pytest.mark.parametrize(
    "ends",
    [
        ["never sent"] * 3,
        ["", "503", "502", ""],
        ["answer lost", "answer lost"],
        ["", "half", "half", "half"],
        ["half", "never sent", "503", "answer lost", "", "half"],
    ],
    ids=str,
)
def test_trouble_on_the_way_is_gone_through_and_no_byte_is_sent_twice(served, ends):
    version, sent, _, troubles = sending(served, list(ends))
    assert version.digest == hashlib.sha256(RAW).hexdigest()
    assert sent == len(RAW)
    assert len(troubles) == len([each for each in ends if each])


def test_a_lost_last_answer_makes_one_version(served):
    ends = [""] * (len(RAW) // STRIDE - 1) + ["answer lost"]
    version, sent, _, _ = sending(served, ends)
    assert (version.number, sent) == (1, len(RAW))


def test_it_gives_up_after_so_many_tries_without_a_byte(served):
    patience = Patience(tries=4, pause=lambda _seconds: None)
    with pytest.raises(errors.Unreachable):
        sending(served, ["", *["never sent"] * 9], patience=patience)


def test_what_got_through_counts_against_giving_up(served):
    """Seven times trouble, but never four in a row."""
    patience = Patience(tries=4, pause=lambda _seconds: None)
    ends = ["never sent", "never sent", "", "never sent", "half", "never sent", "503", "half"]
    assert sending(served, ends, patience=patience)[0].number == 1


def test_what_is_refused_for_good_is_told_at_once_and_forgotten(served):
    left = [None]
    with pytest.raises(errors.BadInput) as caught:
        sending(served, [], left=left, sha256="0" * 64)
    assert set(caught.value.fields) == {"sha256"}
    assert left == []
    assert served.around.images.parts() == frozenset()
