"""What holds for every operation, whatever its noun: the rows are the loop variable, so none can be forgotten."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import msgspec
import pytest

from arable.api.operation import Op
from arable.api.routes import OPERATIONS
from arable.domain.access import Permission
from arable.wire.accounts import DomainIn
from arable.wire.users import UserIn
from belongings import (
    OWNED,
    Belongings,
    absent,
    belongings,
    body_of,
    path_of,
)
from databases import fresh_sqlite
from everything_kept import every_row
from serving import PASSWORD, Served, serving
from who_may import LADDER, NAMED, may

BY_NAME = {op.name: op for op in OPERATIONS}
ANSWERED = [op for op in OPERATIONS if op.stream is None]
"""Streams never end; they are asked for in tests/api/test_streams.py and by strangers below."""


def each(operations):
    return pytest.mark.parametrize("op", operations, ids=lambda op: op.name)


@dataclass
class Crowd:
    """One user for each role over Alice's account, strangers, and one of everything, which is Alice's."""

    cloud: Served
    things: Belongings
    tokens: dict[str, str]
    http: httpx.Client
    keys: dict[Permission, tuple[str, str]] = field(default_factory=dict)

    def ask(self, who: str, op: Op, ids: dict[str, str] | None = None, **more) -> httpx.Response:
        """A request that is well formed; a trial, where the operation can be tried."""
        ids = self.things.ids if ids is None else ids
        headers = dict(more.pop("headers", {}))
        token = self.tokens.get(who, who)
        if token:
            headers["authorization"] = f"Bearer {token}"
        content = more.pop("content", None)
        content = body_of(op, ids) if content is None else content
        if op.takes is not None:
            headers["content-type"] = "application/json"
        if op.appends:
            headers |= {"content-type": "application/partial-upload", "upload-offset": "0"}
        path = path_of(op, ids)
        query = more.pop("query", "dry_run=true" if op.writes and op.dry_run else "")
        if query:
            path += ("&" if "?" in path else "?") + query
        return self.http.request(op.method, path, content=content, headers=headers)

    def everything(self) -> dict[str, list[str]]:
        return every_row(self.cloud.database)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Iterator[Crowd]:
    directory = tmp_path_factory.mktemp("cloud")
    with fresh_sqlite(directory) as database, serving(database, directory) as cloud:
        made = _gathered(cloud)
        with made.http:
            yield made


def _gathered(cloud: Served) -> Crowd:
    operator = cloud.operator
    acme = operator.domains.create(DomainIn(name="acme-domain"))
    rival = operator.domains.create(DomainIn(name="rival-domain"))
    alice = cloud.customer("alice-1", domain=acme.id)
    account = cloud.accounts["alice-1"]
    operator.users.create(UserIn(name="rita", account=account, role="read-only", password=PASSWORD))
    rita = cloud.client()
    rita.sign_in("rita", PASSWORD)
    clients = {
        "operator": operator,
        "domain-admin": cloud.customer("boss", role="domain-admin", domain=acme.id),
        "customer": alice,
        "read-only": rita,
        "stranger": cloud.customer("stranger", domain=rival.id),
        "strange admin": cloud.customer("strange-boss", role="domain-admin", domain=rival.id),
    }
    tokens = {who: cloud.token(client) for who, client in clients.items()} | {"": ""}
    made = Crowd(cloud, belongings(cloud, alice), tokens, cloud.http())
    mine = next(user.account for user in operator.users.all() if user.role == "operator")
    operator.users.create(UserIn(name="olga", account=mine, role="operator", password=PASSWORD))
    olga = cloud.client()  # nobody may have as many keys as two for each permission
    olga.sign_in("olga", PASSWORD)
    for permission in Permission:
        but = tuple(other for other in Permission if other is not permission)
        made.keys[permission] = (
            cloud.key(operator, scopes=(permission,)),
            cloud.key(olga, scopes=but),
        )
    return made


def test_operations_are_told_apart_by_name():
    assert len(BY_NAME) == len(OPERATIONS)


def test_who_may_is_said_of_every_operation_once():
    assert sorted(NAMED) == sorted(BY_NAME)


@each(OPERATIONS)
def test_every_example_is_one_that_the_operation_takes(op):
    if op.takes is None:
        return
    example = {} if op.example is None else op.example
    msgspec.json.decode(json.dumps(example), type=op.takes)


NO_DISK = (400, "a raw disk is a whole number of sectors")
SURPRISES: dict[str, tuple[int, str]] = {
    "users.change_password customer": (403, "the old password is not right"),
    "users.change_password read-only": (403, "this needs the permission account:write"),
    "keys.get read-only": (404, "no such key"),
    "keys.delete read-only": (404, "no such key"),
    "farms.update": (409, "the default farm is filled by hand"),
    "farms.delete": (409, "default has no document"),
    "farms.rotate_keys": (409, "default has no networks that are joined"),
    "sessions.create": (401, "name or password is not right"),
    "sessions.delete": (404, "no such session"),  # Alice's own, so it is she who ends it
    "sessions.delete customer": (204, ""),
    "domains.delete": (409, "the domain is not empty"),
    "domains.delete domain-admin": (409, "nobody removes their own domain"),
    "accounts.delete": (409, "owns machines; remove them first"),
    "limits.update domain-admin": (403, "your own account's limit is 200 CPUs"),
    "machines.move": (409, "only one that runs is moved"),
    "machines.cancel_move": (409, "is not on its way to another host"),
    "control.drain": (404, "there is no such management server"),
    "control.undrain": (404, "there is no such management server"),
    "regions.update": (409, "only the grid manager can change a region"),
    "regions.sign_on": (409, "in no grid"),
    "regions.rotate_keys": (409, "in no grid"),
    "regions.delete": (409, "only the grid manager can remove a region"),
    "regions.join": (409, "this management server can't join a grid"),
    "regions.leave": (404, "this region is in no grid"),
    "grid.instruct": (409, "only the grid manager can instruct"),
    "grid.cancel": (409, "only the grid manager can instruct"),
    "grid.set_limits": (409, "only the grid manager can limit"),
    "grid.token": (409, "only the grid manager can make tokens"),
    "zones.create": (409, "there is a zone named east already"),
    "zones.delete": (409, "there are pods in it"),
    "zones.add_vnis": (409, "keeps its guest networks apart by VLANs"),
    "pods.create": (409, "a"),
    "pods.delete": (409, "there are hosts in it"),
    "hosts.sleep": (409, "it is silent"),
    "hosts.wake": (409, "does not sleep"),
    "public_ranges.delete": (409, "some of its addresses are taken"),
    "hosts.remove_lost": (409, "only one that is down"),
    "offerings.create": (409, "named small already"),
    "offerings.delete": (409, "disable it instead"),
    "images.delete": (409, "the image has versions"),
    "images.delete_version": (409, "tiers of farms are made of this version"),
    "images.upload_version": NO_DISK,
    "images.policy": (404, "nothing is said of where"),
    "images.set_policy": (409, "is in no grid"),
    "images.drop_policy": (404, "nothing is said of where"),
    "images.fetch": (404, "no other region has an image web/3"),
    "images.create_from_parts": (400, "has not uploaded this part"),
    "images.create_from_files": (400, "no such file in the image directory"),
    "image_parts.upload": NO_DISK,
    "image_uploads.append": (409, "this upload is complete"),
    "machines.console": (409, "start it first"),
    "machines.usage": (404, "nothing was counted yet"),
    "machines.reboot": (409, "only a running machine can be rebooted"),
    "networks.delete": (409, "until they are expunged"),
    "nics.attach": (404, "there is no such network"),
    "nics.detach": (409, "rules of default lead to this port"),
    "addresses.release": (409, "delete them first"),
    "volumes.detach": (409, "the root disk of web"),
    "volumes.delete": (409, "detach it first"),
    "volumes.migrate": (409, "is on no storage pool yet"),
    "volumes.cancel_migration": (409, "is not on its way to another pool"),
    "pools.fail_over": (409, "whose pool it is, is"),
    "snapshots.create": (409, "is on no storage pool yet"),
    "snapshots.restore": (409, "is on no storage pool yet"),
    "volumes.limit customer": (403, "this needs the permission catalogue:write"),
    "volumes.limit domain-admin": (403, "this needs the permission catalogue:write"),
    "rollouts.pause": (409, "can't pause while paused"),
    "rules.static_nat": (409, "uses this address already"),
    "rules.between": (404, "there is no such network"),
    "balancers.add_member": (404, "there is no machine named web-3"),
}
"""What those who may are answered where the example can't be done to these things; by role, where it differs."""


def expected(op: Op, role: str) -> tuple[int, str]:
    if not may(role, op.name):
        return (403, f"this needs the permission {op.permission}")
    said = SURPRISES.get(f"{op.name} {role}") or SURPRISES.get(op.name)
    return said or (204 if op.gives is None else op.status, "")


@each(ANSWERED)
def test_who_may_is_answered_and_who_may_not_is_told_what_they_lack(crowd, op):
    before = crowd.everything()
    wrong = {}
    for role in LADDER:
        status, reason = expected(op, role)
        answer = crowd.ask(role, op)
        if answer.status_code != status or reason not in answer.text:
            wrong[role] = (answer.status_code, answer.text)
        if not may(role, op.name):  # nor is looked at what they say
            nonsense = crowd.ask(role, op, content=b"{", query="colour=red")
            assert nonsense.status_code == 403, (role, nonsense.text)
    assert not wrong
    assert crowd.everything() == before


@each(ANSWERED)
def test_without_a_credential_that_counts_nothing_but_signing_in_is_looked_at(crowd, op):
    if may("", op.name):
        return
    before = crowd.everything()
    for ids in (crowd.things.ids, absent(op.parameters)):
        for token in ("", "nonsense", "ak_0000_" + "0" * 40, crowd.tokens["customer"][:-1] + "~"):
            answer = crowd.ask(token, op, ids, content=b"{")
            assert answer.status_code == 401, answer.text
            assert answer.json()["type"] == "urn:arable:problem:unauthenticated"
    assert crowd.everything() == before


BEYOND_ONE_SCOPE = {
    "users.create",
    "users.update",
    "users.delete",
    "keys.create",
    "accounts.create",
    "accounts.update",
    "accounts.delete",
    "images.create_from_files",
    "volumes.attach",
    "volumes.detach",
    "volumes.resize",
    "volumes.limit",
    "snapshots.restore",
}
"""What hands on powers or takes them from those who have more, or is about two kinds of things: one scope is too little."""


@each([op for op in ANSWERED if isinstance(op.permission, Permission)])
def test_a_key_does_what_its_scopes_say_and_nothing_else(crowd, op):
    with_it, without_it = crowd.keys[op.permission]
    before = crowd.everything()
    needs = f"this needs the permission {op.permission}"
    allowed = crowd.ask(with_it, op)
    if op.name in BEYOND_ONE_SCOPE:
        assert allowed.status_code == 403
        assert needs not in allowed.text, allowed.text
    else:
        assert allowed.status_code == expected(op, "operator")[0], allowed.text
    refused = crowd.ask(without_it, op)
    assert refused.status_code == 403
    assert needs in refused.json()["detail"]
    assert crowd.everything() == before


ABOUT_THINGS = [op for op in ANSWERED if set(op.parameters) & OWNED]


@each(ABOUT_THINGS)
@pytest.mark.parametrize("who", ["stranger", "strange admin"])
def test_strangers_can_not_tell_what_exists(crowd, op, who):
    """Alice's thing and a thing that is not there read the same, byte for byte."""
    before = crowd.everything()
    none = absent(op.parameters)
    told = [
        _told(crowd.ask(who, op, ids, content=body_of(op, crowd.things.ids)), ids)
        for ids in (crowd.things.ids, none)
    ]
    assert told[0] == told[1]
    role = "customer" if who == "stranger" else "domain-admin"
    hidden = may(role, op.name) and (op.name, who) != ("users.change_password", "stranger")
    assert told[0][0] == (404 if hidden else 403), told
    conditional = {"if-match": '"7"', "idempotency-key": "k" * 20}
    told = [
        _told(crowd.ask(who, op, ids, query="", headers=conditional), ids)
        for ids in (crowd.things.ids, none)
    ]
    assert told[0] == told[1]
    assert crowd.everything() == before


def _told(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, str]:
    body = answer.json()
    body["instance"] = ""
    text = json.dumps(body)
    for kind, id_ in ids.items():
        text = text.replace(id_, f"<{kind}>")
    return answer.status_code, text


MENTIONS = [
    ("machines.deploy", {"image": "image"}),
    ("machines.deploy", {"group": "group"}),
    ("machines.deploy", {"farm": "farm"}),
    ("machines.deploy", {"networks": [{"network": "network"}]}),
    ("networks.create", {"farm": "farm"}),
    ("rules.forward", {"address": "address", "machine": "machine"}),
    ("rules.static_nat", {"address": "address", "machine": "machine"}),
    ("rules.firewall", {"address": "address"}),
    ("balancers.create", {"address": "address"}),
    ("balancers.create", {"network": "network"}),
    ("vpns.create", {"address": "address"}),
    ("remote_accesses.create", {"address": "address"}),
    ("vpn_clients.create", {"access": "access"}),
    ("balancers.create", {"members": [{"machine": "machine", "port": 1}]}),
    ("snapshots.create", {"volume": "volume"}),
    ("volumes.create", {"snapshot": "snapshot"}),
    ("volumes.create", {"storage_zone": "storagezone"}),
    ("farms.create", {"storage_zone": "storagezone"}),
    ("images.create", {"snapshot": "snapshot"}),
    ("rules.firewall", {"network": "network"}),
    ("rules.between", {"source": "network"}),
    ("rules.between", {"network": "network"}),
]
"""Where a body names things: by kind of id."""


@pytest.mark.parametrize(("name", "said"), MENTIONS, ids=str)
def test_a_strangers_thing_in_a_body_is_like_one_that_is_not_there(crowd, name, said):
    op = BY_NAME[name]
    before = crowd.everything()
    told = []
    for ids in (crowd.things.ids, absent(tuple(OWNED))):
        text = json.dumps(json.loads(json.dumps(said)))
        for kind in OWNED:
            text = text.replace(f': "{kind}"', f': "{ids[kind]}"')
        example = {key: value for key, value in op.example.items() if not _is_id(value)}
        body = json.dumps(example | json.loads(text)).encode()
        told.append(_told(crowd.ask("stranger", op, content=body), ids))
    assert told[0] == told[1]
    assert told[0][0] in (400, 404), told
    assert crowd.everything() == before


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value.partition("-")[0] in OWNED and len(value) > 20


LISTS = [op for op in ANSWERED if op.name.endswith(".page") and op.name != "audit.page"]


@each(LISTS)
def test_a_stranger_lists_and_filters_nothing_of_others(crowd, op):
    secret = [*crowd.things.owned.values(), "alice-1"]
    for who in ("stranger", "strange admin"):
        for query in ("limit=1000", *_filters(crowd, op)):
            answer = crowd.ask(who, op, query=query)
            shown = answer.text
            for value in query.split("="):
                shown = shown.replace(value, "")
            assert not [each for each in secret if each in shown], (query, answer.text)
            if answer.status_code == 200 and query != "limit=1000":
                assert answer.json()["items"] == [], query


def test_the_audit_shows_an_administrator_what_was_done_from_their_own_domain(crowd):
    """There the ids may stand that strangers asked for in vain: they named them themselves."""
    named = crowd.ask("strange admin", BY_NAME["machines.get"])
    assert named.status_code == 404
    entries = crowd.ask("strange admin", BY_NAME["audit.page"], query="limit=1000").json()["items"]
    accounts = {crowd.cloud.accounts[name] for name in ("stranger", "strange-boss")}
    assert {entry["account"] for entry in entries} <= accounts


def _filters(crowd, op) -> list[str]:
    fields = {each.encode_name for each in msgspec.structs.fields(op.query)}
    return [f"{kind}={id_}" for kind, id_ in crowd.things.owned.items() if kind in fields]


@each([op for op in ANSWERED if not op.writes])
def test_looking_changes_nothing(crowd, op):
    before = crowd.everything()
    for who in (*LADDER, "stranger"):
        crowd.ask(who, op)
        crowd.ask(who, op, headers={"if-match": '"1"', "idempotency-key": "k"})
    assert crowd.everything() == before


@each([op for op in ANSWERED if op.parameters])
def test_a_text_that_is_no_id_is_a_problem(crowd, op):
    before = crowd.everything()
    other = "zone" if op.parameters[0] != "zone" else "pod"
    for bad in (
        "x",
        "machine-UPPER",
        "machine-" + "a" * 99,
        "%00",
        "user--1",
        "",
        f"{other}-1",
    ):
        answer = crowd.ask("operator", op, dict.fromkeys(op.parameters, bad))
        assert answer.status_code == 400, answer.text
        assert [error["field"] for error in answer.json()["errors"]] == [op.parameters[0]]
        assert answer.headers["content-type"] == "application/problem+json"
    for nowhere in ("..%2f..", "a%2fb"):
        answer = crowd.ask("operator", op, dict.fromkeys(op.parameters, nowhere))
        assert answer.status_code == 404, answer.text
    assert crowd.everything() == before


@each([op for op in ANSWERED if op.writes])
def test_a_condition_that_does_not_hold_is_never_passed_over(crowd, op):
    """A stale generation is refused as such; where there are none, so is the condition, rather than ignored."""
    if op.name == "sessions.create":
        return  # nobody's, so it looks at no header at all
    before = crowd.everything()
    stale = crowd.ask("operator", op, headers={"if-match": '"999999"'})
    if op.conditional:
        assert stale.status_code == 412, stale.text
        assert stale.json()["type"] == "urn:arable:problem:stale"
    else:
        assert stale.status_code == 400, stale.text
        assert [error["field"] for error in stale.json()["errors"]] == ["if-match"]
    assert crowd.everything() == before


def test_whatever_shows_a_generation_can_be_changed_on_condition(crowd):
    """The other way round: no operation on a thing that has an ETag says that it has none."""
    tagged = {
        op.parameters[-1]
        for op in ANSWERED
        if op.name.endswith(".get") and op.parameters and "generation" in op.gives.__struct_fields__
    }
    of_their_own = {"limits", "credit", "versions", "console", "test"}  # a test changes no route
    for op in OPERATIONS:
        words = {word for word in op.path.split("/") if "{" not in word}
        if op.writes and op.parameters and not words & of_their_own:
            assert op.conditional == (op.parameters[-1] in tagged), op.name


def test_another_user_of_the_same_account_sees_the_same(crowd):
    for name in (
        "users.page",
        "machines.page",
        "networks.page",
        "addresses.page",
        "volumes.page",
        "snapshots.page",
    ):
        seen = [crowd.ask(who, BY_NAME[name]).json()["items"] for who in ("customer", "read-only")]
        assert seen[0] == seen[1]
        assert seen[0]
