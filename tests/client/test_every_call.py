"""The client and the API's rows are walked side by side: each operation is one method, and each method one operation."""

from collections.abc import Iterator
from types import NoneType
from typing import get_args, get_origin, get_type_hints

import httpx
import msgspec
import pytest

from arable.api.operation import Op
from arable.api.routes import OPERATIONS
from arable.client.arable import Arable
from arable.client.connection import Group

EACH = pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
HELPERS = {"all", "wait"}
"""Methods that repeat a call: all pages, and until an operation's end."""
ID = "0mh5z1x2k3q8w7e6r5t4"
HOW = {"dry_run": True, "expects": 7, "idempotency_key": "once"}


class Sent(Exception):
    """Carries the request that would have gone over the wire."""

    def __init__(self, request: httpx.Request) -> None:
        self.request = request


def wire(request: httpx.Request) -> httpx.Response:
    raise Sent(request)


@pytest.fixture
def client() -> Iterator[Arable]:
    with Arable("http://cloud", "the-token", transport=httpx.MockTransport(wire)) as made:
        yield made


def groups(client: Arable) -> dict[str, Group]:
    return {name: getattr(client, name) for name in Arable.__annotations__}


def method_of(client: Arable, op: Op):
    group, verb = op.name.split(".")
    return getattr(getattr(client, group), verb)


def sent_by(client: Arable, op: Op, **how) -> httpx.Request:
    ids = [f"{kind}-{ID}" for kind in op.parameters]
    said = {}
    if op.takes is not None:
        said["ask"] = msgspec.convert(op.example or {}, op.takes)
    if op.query is not None:
        needed = {
            "UploadQuery": {"format": "raw"},
            "VersionQuery": {"number": 3},
            "WhereQuery": {"image": "web"},
        }
        said["query"] = op.query(**needed.get(op.query.__name__, {}))
    if op.receive is not None:
        said["content"] = [b"some ", b"bytes"]
    if op.appends:
        said["offset"] = 5
    with pytest.raises(Sent) as sent:
        _begun(method_of(client, op)(*ids, **said, **how))
    sent.value.request.read()
    return sent.value.request


def _begun(answer) -> None:
    """A stream asks when its first event is wanted."""
    if isinstance(answer, Iterator):
        next(answer)


def test_every_method_is_an_operation_and_every_operation_a_method(client):
    methods = {
        f"{name}.{verb}"
        for name, group in groups(client).items()
        for verb, method in vars(type(group)).items()
        if callable(method) and not verb.startswith("_") and verb not in HELPERS
    }
    assert methods == {op.name for op in OPERATIONS}


@EACH
def test_a_method_asks_for_its_operation(client, op):
    request = sent_by(client, op)
    path = op.path
    for kind in op.parameters:
        path = path.replace(f"{{{kind}}}", f"{kind}-{ID}")
    assert (request.method, request.url.path) == (op.method, path)
    assert request.headers["authorization"] == "Bearer the-token"
    if op.takes is not None:
        assert request.headers["content-type"] == "application/json"
        told = msgspec.json.decode(request.content, type=op.takes)
        assert told == msgspec.convert(op.example or {}, op.takes)
    elif op.receive is not None:
        assert request.content == b"some bytes"
        assert request.headers.get("upload-offset") == ("5" if op.appends else None)
    else:
        assert request.content == b""


@EACH
def test_a_method_takes_and_gives_the_operations_documents(client, op):
    hints = get_type_hints(method_of(client, op))
    gives = hints["return"]
    if op.stream is not None:
        assert (get_origin(gives), get_args(gives)) == (Iterator, (op.stream,))
    else:
        assert gives == (NoneType if op.gives is None else op.gives)
    assert op.takes is None or op.takes in (hints["ask"], *get_args(hints["ask"]))
    assert op.query is None or op.query in (hints["query"], *get_args(hints["query"]))


@pytest.mark.parametrize(
    "op",
    [op for op in OPERATIONS if op.writes and op.receive is None and op.name != "sessions.create"],
    ids=lambda op: op.name,
)
def test_every_write_can_be_tried_made_conditional_and_repeated(client, op):
    request = sent_by(client, op, **HOW)
    assert request.url.params["dry_run"] == "true"
    assert request.headers["if-match"] == '"7"'
    assert request.headers["idempotency-key"] == "once"
    plain = sent_by(client, op)
    assert "dry_run" not in plain.url.params
    assert not {"if-match", "idempotency-key"} & set(plain.headers)


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op.parameters], ids=lambda op: op.name)
def test_what_is_no_id_never_becomes_another_path(client, op):
    for bad in ("", "..", "../users", "a/b", "a?b=c", "a#b", "a b", "a\n", "%2e", "ü"):
        with pytest.raises(ValueError, match="not an id"):
            _ask_about(client, op, bad)


def _ask_about(client, op, bad):
    said = {}
    if op.takes is not None:
        said["ask"] = msgspec.convert(op.example or {}, op.takes)
    if op.query is not None and op.query.__name__ in ("UploadQuery", "VersionQuery"):
        said["query"] = op.query(**({"format": "raw"} if op.receive else {"number": 1}))
    if op.receive is not None:
        said["content"] = [b""]
    if op.appends:
        said["offset"] = 0
    method_of(client, op)(*[bad for _ in op.parameters], **said)
