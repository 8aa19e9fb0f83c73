"""What holds for every operation, whatever its noun: the rows are the loop variable, so none can be forgotten."""

import json
from collections.abc import Iterator

import msgspec
import pytest

from arable.api.operation import Access, Op
from arable.api.routes import OPERATIONS
from arable.client.arable import Arable
from arable.domain.access import ROLES
from arable.wire.accounts import DomainIn
from arable.wire.users import UserIn
from belongings import Belongings, belongings
from databases import fresh_sqlite
from serving import PASSWORD, Served, serving

EACH = pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: f"{op.method} {op.path}")
WITH_ID = pytest.mark.parametrize(
    "op",
    [op for op in OPERATIONS if op.parameters],
    ids=lambda op: f"{op.method} {op.path}",
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("cloud")
    with fresh_sqlite(directory) as database, serving(database, directory) as made:
        yield made


@pytest.fixture(scope="module")
def people(cloud) -> dict[str, Arable]:
    """One user of each role, each in an account of their own."""
    made = {"operator": cloud.operator}
    acme = cloud.operator.domains.create(DomainIn(name="acme"))
    made["domain-admin"] = cloud.customer("boss", role="domain-admin", domain=acme.id)
    made["customer"] = cloud.customer("alice")
    made["read-only"] = cloud.customer("rita", role="read-only")
    return made


@pytest.fixture(scope="module")
def bobs(cloud) -> Belongings:
    """One of everything that a customer can own, and it is Bob's."""
    bob = cloud.customer("bob")
    return belongings(cloud, bob)


def path_of(op: Op, ids: dict[str, str]) -> str:
    path = op.path
    for kind in op.parameters:
        path = path.replace(f"{{{kind}}}", ids[kind])
    return path


def ask(
    cloud: Served, client: Arable | None, op: Op, ids: dict[str, str], query: str = "", **headers
):
    """A request that is well formed."""
    with cloud.http(cloud.token(client) if client else None) as http:
        content = b""
        if op.takes is not None:
            content = json.dumps({} if op.example is None else op.example).encode()
            headers["content-type"] = "application/json"
        return http.request(
            op.method,
            path_of(op, ids) + query_of(op, query),
            content=content,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )


def query_of(op: Op, more: str) -> str:
    """What the operation's query can't do without."""
    needed = {"UploadQuery": "role=disk&format=qcow2", "VersionQuery": "number=1"}
    said = [needed.get(op.query.__name__, "") if op.query else "", more]
    text = "&".join(part for part in said if part)
    return f"?{text}" if text else ""


def absent(kinds: tuple[str, ...]) -> dict[str, str]:
    return {kind: f"{kind}-0000000000000000000z" for kind in kinds}


def test_operations_are_told_apart_by_name():
    assert len({op.name for op in OPERATIONS}) == len(OPERATIONS)


@EACH
def test_every_operation_has_a_method_of_the_client(op):
    client = Arable("http://127.0.0.1:9")
    group, verb = op.name.split(".")
    assert callable(getattr(getattr(client, group), verb))
    client.close()


@EACH
def test_every_example_is_one_that_the_operation_takes(op):
    if op.takes is None:
        return
    example = {} if op.example is None else op.example
    msgspec.json.decode(json.dumps(example), type=op.takes)


@EACH
def test_without_a_credential_nothing_but_signing_in_is_answered(cloud, op):
    answer = ask(cloud, None, op, absent(op.parameters))
    if op.permission is Access.PUBLIC:
        assert answer.status_code != 500
    else:
        assert answer.status_code == 401, answer.text


@EACH
@pytest.mark.parametrize("role", [role for role in ROLES if role != "operator"])
def test_a_role_may_what_the_table_says_and_nothing_else(cloud, people, role, op):
    if op.stream is not None or op.path == "/v1/sessions/current":
        return  # the one never ends, the other ends what the next test needs
    answer = ask(cloud, people[role], op, absent(op.parameters), query_for_trying(op))
    allowed = isinstance(op.permission, Access) or op.permission in ROLES[role][1]
    assert answer.status_code < 500 or answer.status_code == 507, answer.text
    assert answer.status_code != 401 or op.permission is Access.PUBLIC, answer.text
    if not allowed:
        assert answer.status_code == 403, answer.text
        assert str(op.permission) in answer.json()["detail"]
    elif answer.status_code == 403:
        assert "this needs the permission" not in answer.text or isinstance(op.permission, Access)


def query_for_trying(op: Op) -> str:
    return "dry_run=true" if op.writes and op.dry_run else ""


@WITH_ID
def test_strangers_can_not_tell_what_exists(cloud, people, bobs, op):
    """Bob's thing and a thing that is not there read the same to Alice, byte for byte."""
    own = {kind: bobs.ids.get(kind, absent((kind,))[kind]) for kind in op.parameters}
    none = absent(op.parameters)
    told = []
    for ids in (own, none):
        answer = ask(cloud, people["customer"], op, ids)
        body = answer.json()
        body["instance"] = ""
        text = json.dumps(body)
        for id_ in ids.values():
            text = text.replace(id_, "…")
        told.append((answer.status_code, text))
    assert told[0] == told[1]
    if set(op.parameters) & set(bobs.ids):
        assert told[0][0] in (403, 404), told[0]


@WITH_ID
def test_a_text_that_is_no_id_is_a_field_error(cloud, people, op):
    for bad in ("x", "machine-UPPER", "machine-" + "a" * 99, "..%2f..", "%00", "user--1"):
        answer = ask(cloud, people["operator"], op, dict.fromkeys(op.parameters, bad))
        assert answer.status_code in (400, 404), answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "op",
    [op for op in OPERATIONS if op.parameters and op.writes and op.dry_run],
    ids=lambda op: f"{op.method} {op.path}",
)
def test_a_condition_that_does_not_hold_is_never_passed_over(cloud, bobs, op):
    """Whatever has a generation heeds `If-Match`: an old one is refused, by 412 or by something earlier."""
    kind = op.parameters[-1]
    if kind not in bobs.ids or kind in bobs.without_generation or op.path.endswith("/limits"):
        return
    answer = ask(cloud, cloud.operator, op, bobs.ids, "dry_run=true", if_match='"999999"')
    assert answer.status_code in (400, 403, 404, 409, 412), (answer.status_code, answer.text)


def test_another_user_of_the_same_account_sees_the_same(cloud, people):
    me = people["customer"].users.whoami()
    cloud.operator.users.create(
        UserIn(name="colleague", account=me.account, role="customer", password=PASSWORD)
    )
    colleague = cloud.client()
    colleague.sign_in("colleague", PASSWORD)
    assert {each.id for each in colleague.users.all()} == {
        each.id for each in people["customer"].users.all()
    }
