"""Bad input gets a 4xx problem that names the field and the reason; nothing changes (rule 11)."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.api.routes import OPERATIONS
from belongings import path_of

GOOD = {"name": "acme"}


pytestmark = pytest.mark.usefixtures("unharmed")


def post(cloud, body, path="/v1/accounts", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    with cloud.http(cloud.token(cloud.operator)) as http:
        return http.post(path, content=content, headers=sent)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b'{"name": "acme"', "body"),
        (b'{"name": "acme"} x', "body"),
        (b"nonsense", "body"),
        (b"\xff\xfe", "body"),
        (b'{"name": "a\xffb"}', "body"),
        (b'{"name": "\\ud800"}', "body"),
        (b'{"name": NaN}', "body"),
        (b"[" * 100_000, "body"),
        (b'{"limits":' * 10_000, "limits.limits"),
        ([], "body"),
        ("acme", "body"),
        (None, "body"),
        ({}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"name": "Acme"}, "name"),
        ({"name": "ac me"}, "name"),
        ({"name": "-acme"}, "name"),
        ({"name": "acme\n"}, "name"),
        ({"name": "acme\0"}, "name"),
        ({"name": "acme\x1b[31m"}, "name"),
        ({"name": "../acme"}, "name"),
        ({"name": "acme", "colour": "red"}, "colour"),
        ({"name": "acme", "domain": "x"}, "domain"),
        ({"name": "acme", "limits": {"machines": -1}}, "limits.machines"),
        ({"name": "acme", "limits": {"machines": 1.5}}, "limits.machines"),
        ({"name": "acme", "limits": {"machines": "7"}}, "limits.machines"),
        ({"name": "acme", "limits": {"machines": 10**30}}, "limits.machines"),
        ({"name": "acme", "limits": {"machines": True}}, "limits.machines"),
        ({"name": "acme", "limits": {"hats": 1}}, "limits.hats"),
        ({"name": "acme", "user": {"name": "u", "password": "short"}}, "user.password"),
        ({"name": "acme", "user": {"name": "u", "password": "x" * 2000}}, "user.password"),
        ({"name": "acme", "user": {"name": "u", "password": "long enough\0"}}, "user.password"),
        ({"name": "acme", "user": {"password": "long enough"}}, "user.name"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_bad_body_is_refused_by_field(cloud, body, field):
    answer = post(cloud, body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["type"] == "urn:arable:problem:bad-input"
    assert [error["field"] for error in told["errors"]] == [field]
    assert told["errors"][0]["reason"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=" + "9" * 40, "limit"),
        ("after=%00", "after"),
        ("after=a%20b", "after"),
        ("after=" + "a" * 200, "after"),
        ("name=%ff", "query"),
        ("name=Bad%0aName", "name"),
        ("enabled=maybe", "enabled"),
        ("colour=red", "colour"),
        ("&".join(f"x{n}=1" for n in range(100)), "query"),
    ],
)
def test_a_bad_query_is_refused_by_parameter(cloud, query, field):
    with cloud.http(cloud.token(cloud.operator)) as http:
        answer = http.get(f"/v1/accounts?{query}")
    assert answer.status_code == 400, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_query_or_a_body_of_absurd_size_is_refused_early(cloud):
    with cloud.http(cloud.token(cloud.operator)) as http:
        long = http.get("/v1/accounts?name=" + "a" * 20_000)
        assert long.status_code == 413
    big = post(cloud, b'{"name": "' + b"a" * (2 << 20) + b'"}')
    assert big.status_code == 413
    assert big.json()["type"] == "urn:arable:problem:too-large"

    def endless():
        for _ in range(64):
            yield b" " * 65536

    with cloud.http(cloud.token(cloud.operator)) as http:
        streamed = http.post(
            "/v1/accounts", content=endless(), headers={"content-type": "application/json"}
        )
    assert streamed.status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": ""},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "application/json; charset=latin-1"},
        {"content_type": "multipart/form-data; boundary=x"},
        {"content_encoding": "gzip"},
    ],
    ids=str,
)
def test_another_media_type_is_refused(cloud, headers):
    answer = post(cloud, GOOD, **headers)
    assert answer.status_code == 415
    assert answer.json()["type"] == "urn:arable:problem:unsupported-media-type"


def test_a_body_where_none_belongs_and_a_header_that_comes_twice_are_refused(cloud):
    with cloud.http(cloud.token(cloud.operator)) as http:
        answer = http.request("GET", "/v1/accounts", content=b"{}")
        assert answer.status_code == 400
        twice = http.get("/v1/whoami", headers=[("if-match", '"1"'), ("if-match", '"2"')])
        assert twice.status_code == 400
        for bad in ("a b", "x" * 256, "ü"):
            answer = http.post("/v1/accounts", json=GOOD, headers={"idempotency-key": bad.encode()})
            assert answer.status_code == 400


EACH_BODY = pytest.mark.parametrize(
    "op", [op for op in OPERATIONS if op.takes is not None], ids=lambda op: op.name
)


def ask(cloud, things, op, body, **headers):
    """What is sent is wrong; where it is sent, and by whom, is right."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    said = {"authorization": f"Bearer {cloud.token(cloud.operator)}"}
    with cloud.http() as http:
        return http.request(
            op.method,
            path_of(op, things.ids),
            content=content,
            headers={"content-type": "application/json"} | said | headers,
        )


def refused(answer, *fields):
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert told["type"] == "urn:arable:problem:bad-input"
    (error,) = told["errors"]
    assert error["reason"]
    assert not fields or error["field"] in fields, told


@EACH_BODY
def test_what_is_no_json_object_is_refused_wherever_one_belongs(cloud, things, op):
    for body in (b"{", b'{"', b"[]", b'"x"', b"7", b"null", b"\xff", b"name: acme\n"):
        refused(ask(cloud, things, op, body), "body")
    refused(ask(cloud, things, op, json.dumps(op.example or {}).encode() + b"x"), "body")
    # YAML is for files on the customer's side: what comes here is JSON, whatever it calls itself
    yaml = ask(cloud, things, op, b"name: acme\n", **{"content-type": "application/yaml"})
    assert yaml.status_code == 415


@EACH_BODY
def test_a_field_that_is_not_known_is_refused_not_ignored(cloud, things, op):
    for name in ("colour", "Name", "id", "generation", "__class__", "a" * 300, "näme"):
        answer = ask(cloud, things, op, (op.example or {}) | {name: 1})
        refused(answer, name[:200], f"values.{name}")


def leaves(value, path=()):
    """Every place in an example that holds a text or a number, with what it holds."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for key, each in enumerate(value):
            yield from leaves(each, (*path, key))
    elif value is not None:
        yield path, value


def but(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = but(copy[path[0]], path[1:], new)
    return copy


WRONG = [
    {"x": 1},
    [[]],
    -(2**63),
    10**30,
    1e400,
    "a" * 70_000,
    "a\0b",
    "a\x1b[2J",
    "a\nb",
    "\u2028",
]
ANY_TEXT = {"password", "old", "new"}
"""A password may have any character, and one that is not right is not told why."""


def _is_text(field: object, text: str) -> bool:
    """Whether this is nothing wrong there. User-data is the guest's: it may be any text, but for the end of one in C."""
    fits = "\0" not in text and len(text) <= 16 * 1024
    return field in ANY_TEXT or (field == "user_data" and fits)


@EACH_BODY
def test_a_value_that_is_none_of_its_field_is_refused_by_name(cloud, things, op):
    """Wrong types, absurd sizes and control characters, in each field of the operation's own example."""
    for path, good in leaves(op.example or {}):
        field = ".".join(map(str, path))
        fields = (field, "values") if op.name == "settings.update" else (field,)
        for wrong in WRONG if isinstance(good, bool) else [*WRONG, True]:
            if isinstance(wrong, str) and (
                op.name == "sessions.create" or _is_text(path[-1], wrong)
            ):
                continue
            answer = ask(cloud, things, op, but(op.example, path, wrong))
            refused(answer, *(("body",) if wrong == 1e400 else fields))  # infinity is no JSON


@settings(deadline=None, max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "limits", "user", "domain", "machines", "password"])
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_no_json_at_all_is_a_bug(cloud, body):
    answer = post(cloud, json.dumps(body).encode(), path="/v1/accounts?dry_run=true")
    assert answer.status_code < 500, answer.text
