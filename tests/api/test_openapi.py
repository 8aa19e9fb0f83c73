"""The description of the API is true: every call made from it is answered as it says, and never by a 500."""

import socket
import struct

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks

from arable.api import openapi
from arable.api.incoming import PARTIAL
from arable.api.operation import Op
from arable.api.routes import OPERATIONS
from arable.wire.common import Problem
from serving import wait_until


@schemathesis.serializer(PARTIAL)
def _bytes(_context: schemathesis.SerializationContext, value: object) -> dict[str, bytes]:
    """What is generated for it, as bytes."""
    return {"data": value if isinstance(value, bytes) else str(value).encode()}


DOCUMENT = openapi.document(OPERATIONS)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CHECKS = [
    checks.not_a_server_error,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.status_code_conformance,
]


@pytest.fixture(scope="module")
def key(cloud) -> str:
    return cloud.key(cloud.operator)


def finite(op: Op) -> bool:
    return op.stream is None


@pytest.mark.parametrize("op", [op for op in OPERATIONS if finite(op)], ids=lambda op: op.name)
def test_no_request_that_can_be_made_from_the_description_is_a_bug(cloud, key, things, op):
    operation = SCHEMA[op.path][op.method]

    @given(case=operation.as_strategy(), there=st.booleans())
    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def hold(case, there):
        if there and op.parameters:  # else all that is ever said is that there is no such thing
            case.path_parameters = {kind: things.ids[kind] for kind in op.parameters}
        if op.writes and op.dry_run:
            case.query["dry_run"] = "true"
        answer = case.call(base_url=cloud.url, headers={"authorization": f"Bearer {key}"})
        case.validate_response(answer, checks=CHECKS)

    hold()


def test_the_description_is_served_and_names_every_operation(cloud):
    with cloud.http() as http:
        told = http.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    assert {
        (method.upper(), path) for path, methods in told["paths"].items() for method in methods
    } == {(op.method, op.path) for op in OPERATIONS}
    for op in OPERATIONS:
        said = told["paths"][op.path][op.method.lower()]
        assert said["responses"]["default"]["$ref"].endswith("/Problem")
        if op.takes is not None and op.example is not None:
            assert said["requestBody"]["content"]["application/json"]["example"] == op.example


def test_the_documentation_needs_no_other_host_and_no_inline_script(cloud):
    with cloud.http() as http:
        page = http.get("/docs")
        parts = [http.get(path) for path in ("/docs/docs.js", "/docs/docs.css")]
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    for answer in (page, *parts):
        assert answer.status_code == 200
        assert "http://" not in answer.text
        assert "https://" not in answer.text
        assert "innerHTML" not in answer.text


def test_health_readiness_and_metrics_are_served(cloud):
    with cloud.http() as http:
        assert http.get("/healthz").text == "ok\n"
        assert http.get("/readyz").text == "ready\n"
        http.get("/v1/whoami")
        told = http.get("/metrics").text
    assert 'arable_api_calls_total{operation="users.whoami",status="401"}' in told
    assert "arable_api_seconds_bucket" in told


@pytest.mark.parametrize("path", ["/", "/nothing", "/v1", "/v1/", "/v1/nothing", "/v1/users/x/y/z"])
def test_what_is_nowhere_is_a_problem(cloud, path):
    with cloud.http() as http:
        answer = http.get(path)
    if path == "/":
        assert answer.headers["location"] == "/docs"
        return
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert Problem(**answer.json()).type == "urn:arable:problem:not-found"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"])
def test_another_method_is_told_which_ones_there_are(cloud, method):
    with cloud.http() as http:
        answer = http.request(method, "/v1/accounts")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "POST /v1/accou",
        "POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Le",
        "POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
        "POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        "GET /v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=len,
)
def test_a_client_that_hangs_up_anywhere_does_no_harm(cloud, unharmed, key, said):
    host, port = cloud.url.removeprefix("http://").split(":")
    said = said.replace("Host: x", f"Host: x\r\nAuthorization: Bearer {key}")
    for linger in (0, 1):  # by a reset, and in order
        with socket.create_connection((host, int(port)), timeout=30) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0))
            line.sendall(said.encode())
    assert cloud.operator.users.whoami().name == "operator"
    wait_until(lambda: cloud.server._adaptor._in_progress <= 0)
