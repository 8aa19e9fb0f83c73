"""What the client makes of answers: documents, errors by kind, pages, progress, time-outs."""

import json
import time
from collections.abc import Callable

import httpx
import msgspec
import pytest

from arable.api import problems
from arable.client import connection, errors
from arable.client.arable import Arable
from arable.client.connection import Exchange
from arable.domain import errors as domain
from arable.domain.errors import CloudError
from arable.processes import http
from arable.wire.accounts import AccountIn, AccountQuery
from arable.wire.common import PageQuery, Problem
from arable.wire.machines import MachineQuery
from arable.wire.operations import OperationQuery, OperationWaitQuery
from arable.wire.users import UserIn, UserQuery

WHOAMI = {
    "user": "user-1",
    "name": "alice",
    "account": "account-1",
    "account_name": "acme",
    "domain": "domain-1",
    "path": "root",
    "role": "customer",
    "permissions": [],
    "via": "session-1",
}


def client(answer: Callable[[httpx.Request], httpx.Response], **more) -> Arable:
    return Arable("http://cloud", transport=httpx.MockTransport(answer), **more)


def answering(status: int, body: object, **headers: str) -> Callable[..., httpx.Response]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _request: httpx.Response(status, content=content, headers=headers)


def problem(error: CloudError) -> Callable[..., httpx.Response]:
    told = problems.of_error(error, "abc-1")
    return lambda _request: httpx.Response(told.status, content=problems.body(told))


@pytest.mark.parametrize("kind", problems.STATUS, ids=lambda kind: kind.__name__)
def test_every_refusal_of_the_server_is_an_exception_of_that_name(kind):
    """Both sides have the same list, so a new kind of error is not forgotten here."""
    with (
        client(problem(kind("the reason", field="name"))) as to,
        pytest.raises(errors.Refused) as caught,
    ):
        to.users.whoami()
    assert type(caught.value).__name__ == kind.__name__
    assert str(caught.value) == "the reason"
    assert caught.value.status == problems.STATUS[kind]
    assert caught.value.fields == {"name": "the reason"}
    assert caught.value.request == "abc-1"


def test_no_kind_of_exception_is_one_that_the_server_never_tells():
    assert {each.__name__ for each in errors.Refused.__subclasses__()} == {
        kind.__name__ for kind in problems.STATUS
    }


def test_a_problem_of_a_newer_server_is_still_a_refusal():
    told = msgspec.to_builtins(problems.of_error(domain.Conflict("no"), "r-1"))
    told |= {"type": "urn:arable:problem:too-early", "status": 425, "hint": "a new field"}
    with client(answering(425, told)) as to, pytest.raises(errors.Refused) as caught:
        to.users.whoami()
    assert type(caught.value) is errors.Refused
    assert isinstance(caught.value.problem, Problem)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>hello</html>"),
        (200, b""),
        (200, {"name": 7}),
        (200, []),
        (404, b"not here"),
        (404, {"error": "not here"}),
        (502, b"<html>bad gateway</html>"),
        (301, b""),
        (204, b""),
    ],
)
def test_what_is_no_answer_of_ours_is_said_to_be_none(status, body):
    with client(answering(status, body)) as to, pytest.raises(errors.NotArable):
        to.users.whoami()


def test_fields_that_a_newer_server_tells_are_passed_over():
    told = answering(200, WHOAMI | {"shoe_size": 43})
    with client(told) as to:
        assert to.users.whoami().name == "alice"


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.ConnectTimeout, httpx.ReadError]
)
def test_no_answer_is_unreachable_whatever_the_reason(failure):
    def broken(request):
        raise failure("no", request=request)

    with client(broken) as to, pytest.raises(errors.Unreachable):
        to.users.whoami()


def test_nobody_there_is_unreachable_soon():
    began = time.monotonic()  # noqa: TID251 - a real socket
    with Arable("http://127.0.0.1:9") as to, pytest.raises(errors.Unreachable):
        to.users.whoami()
    assert time.monotonic() - began < 60  # noqa: TID251


def test_a_call_waits_for_as_long_as_the_server_may_and_no_longer():
    seen = []

    def note(request):
        seen.append(request.extensions["timeout"]["read"])
        return answering(200, WHOAMI)(request)

    with client(note) as to:
        to.users.whoami()
        with pytest.raises(errors.NotArable):
            to.operations.get("operation-1", OperationWaitQuery(wait=60))
    assert seen[1] == seen[0] + 60


def test_pages_are_asked_for_when_they_are_needed():
    asked = []

    def pages(request):
        after = request.url.params.get("after")
        asked.append((after, request.url.params["limit"]))
        number = int(after or 0)
        items = [operation(f"operation-{number + step}") for step in (1, 2)]
        return httpx.Response(
            200, json={"items": items, "next": str(number + 2) if number < 4 else None}
        )

    with client(pages) as to:
        found = to.operations.all(OperationQuery(limit=2))
        assert next(found).id == "operation-1"
        assert asked == [(None, "2")]
        assert [each.id for each in found] == [f"operation-{n}" for n in range(2, 7)]
    assert asked == [(None, "2"), ("2", "2"), ("4", "2")]


def operation(id_="operation-1", **but):
    return {
        "id": id_,
        "account": "account-1",
        "account_name": "acme",
        "user": "user-1",
        "kind": "machine.deploy",
        "target": "machine-1",
        "state": "running",
        "total": 2,
        "pending": 1,
        "steps": [],
        "result": {},
        "error": None,
        "created_at": "2026-01-01T00:00:00Z",
        "changed_at": "2026-01-01T00:00:00Z",
    } | but


def states(*answers):
    left = list(answers)
    return lambda _request: httpx.Response(200, json=left.pop(0) if len(left) > 1 else left[0])


def test_waiting_ends_when_the_operation_does():
    seen = []
    told = states(operation(), operation(pending=0), operation(state="done", pending=0))
    with client(told) as to:
        done = to.operations.wait("operation-1", progress=seen.append)
    assert done.state == "done"
    assert [each.pending for each in seen] == [1, 0, 0]


def test_an_operation_that_fails_raises_its_own_words():
    error = {
        "type": "urn:arable:problem:no-room",
        "title": "Not enough room",
        "status": 507,
        "detail": "no host can take this",
        "instance": "",
        "errors": [],
    }
    with (
        client(states(operation(), operation(state="failed", error=error))) as to,
        pytest.raises(errors.OperationFailed, match="no host can take this") as caught,
    ):
        to.operations.wait("operation-1")
    assert caught.value.operation.state == "failed"


def test_waiting_has_an_end_of_its_own():
    with client(states(operation())) as to, pytest.raises(errors.StillRunning) as caught:
        to.operations.wait("operation-1", seconds=3)
    assert caught.value.operation.pending == 1


def test_queries_leave_out_what_is_not_said_and_repeat_what_is_many():
    seen = []

    def note(request):
        seen.append(str(request.url.params))
        return httpx.Response(200, json={"items": [], "next": None})

    with client(note) as to:
        to.accounts.page(AccountQuery(enabled=False))
        to.machines.page(MachineQuery(state=("running", "stopped"), limit=3))
        to.sessions.page(PageQuery(after="x y&z"))
    assert "enabled=false" in seen[0]
    assert "name" not in seen[0]
    assert seen[1].count("state=") == 2
    assert "after=x+y%26z" in seen[2] or "after=x%20y%26z" in seen[2]


def test_who_watches_calls_sees_them_without_the_credential():
    seen: list[Exchange] = []
    with client(answering(200, WHOAMI), token="as_secret_token", on_call=seen.append) as to:
        to.users.whoami()
    (call,) = seen
    assert (call.method, call.status) == ("GET", 200)
    assert b"alice" in call.received
    assert "as_secret_token" not in repr(call)


def test_redirects_are_not_followed_with_a_credential():
    asked = []

    def away(request):
        asked.append(request.url.host)
        return httpx.Response(302, headers={"location": "http://elsewhere/"})

    with client(away, token="as_token") as to, pytest.raises(errors.NotArable):
        to.users.whoami()
    assert asked == ["cloud"]


# --- over the wire -----------------------------------------------------------------------------------------------


def test_the_same_key_does_a_thing_once(served):
    ask = AccountIn(name="acme")
    first = served.operator.accounts.create(ask, idempotency_key="a-key")
    again = served.operator.accounts.create(ask, idempotency_key="a-key")
    assert again == first
    with pytest.raises(errors.Conflict):
        served.operator.accounts.create(AccountIn(name="other"), idempotency_key="a-key")
    names = {each.name for each in served.operator.accounts.all()}
    assert names == {"operators", "acme"}


def test_a_trial_and_a_stale_condition_change_nothing(served):
    ask = AccountIn(name="acme")
    assert served.operator.accounts.create(ask, dry_run=True).name == "acme"
    assert {each.name for each in served.operator.accounts.all()} == {"operators"}
    made = served.operator.accounts.create(ask)
    with pytest.raises(errors.Stale):
        served.operator.accounts.delete(made.id, expects=made.generation + 1)
    served.operator.accounts.delete(made.id, expects=made.generation)


def test_all_pages_are_walked(served):
    for number in range(7):
        served.operator.users.create(
            UserIn(name=f"user-{number}", role="customer", account=served.first.account)
        )
    walked = [each.name for each in served.operator.users.all(UserQuery(limit=3))]
    assert sorted(walked) == sorted(["operator", *(f"user-{number}" for number in range(7))])
    assert len(walked) == 8


def test_a_connection_is_given_up_by_the_client_long_before_the_server_hangs_up():
    # A call and a hang-up that cross end in an error: it happened on busy machines.
    assert connection.REUSED * 5 < http.IDLE
