"""What goes with every write: repetition, trying, conditions, the audit, and that nothing remains of a refusal."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from arable.client import errors
from arable.store import audit
from arable.wire.accounts import AccountChange, AccountIn, DomainIn
from arable.wire.events import AuditQuery
from arable.wire.users import KeyIn


def names(served):
    return sorted(each.name for each in served.operator.accounts.all())


def test_the_same_request_with_the_same_key_is_done_once(served_both):
    with served_both.http(served_both.token(served_both.operator)) as http:
        told = [
            http.post("/v1/accounts", json={"name": "acme"}, headers={"idempotency-key": "k1"})
            for _ in range(3)
        ]
    assert [answer.status_code for answer in told] == [201, 201, 201]
    assert told[0].content == told[1].content == told[2].content
    assert [answer.headers.get("arable-repeated") for answer in told] == [None, "true", "true"]
    assert names(served_both) == ["acme", "operators"]


def test_another_request_with_the_same_key_is_a_conflict(served_both):
    operator = served_both.operator
    operator.accounts.create(AccountIn(name="acme"), idempotency_key="k1")
    with pytest.raises(errors.Conflict) as refused:
        operator.accounts.create(AccountIn(name="other"), idempotency_key="k1")
    assert "idempotency-key" in refused.value.fields
    assert names(served_both) == ["acme", "operators"]


def test_a_key_belongs_to_its_user(served):
    alice, bob = served.customer("alice"), served.customer("bob")
    one = alice.keys.create(KeyIn(name="one"), idempotency_key="same")
    two = bob.keys.create(KeyIn(name="one"), idempotency_key="same")
    assert one.id != two.id


def test_a_refused_request_does_not_use_its_key_up(served_both):
    operator = served_both.operator
    first = operator.accounts.create(AccountIn(name="acme"))
    with pytest.raises(errors.Conflict):
        operator.accounts.create(AccountIn(name="acme"), idempotency_key="k1")
    operator.accounts.delete(first.id)
    assert operator.accounts.create(AccountIn(name="acme"), idempotency_key="k1").name == "acme"


def test_requests_with_one_key_at_the_same_time_are_done_once(served_both):
    token = served_both.token(served_both.operator)

    def ask(_n: int) -> tuple[int, bytes]:
        with served_both.http(token) as http:
            answer = http.post(
                "/v1/accounts", json={"name": "acme"}, headers={"idempotency-key": "k1"}
            )
            return answer.status_code, answer.content

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(ask, range(16)))
    assert len(set(told)) == 1
    assert told[0][0] == 201
    assert names(served_both) == ["acme", "operators"]


def test_a_repeated_answer_does_not_hold_the_secret(served):
    alice = served.customer("alice")
    first = alice.keys.create(KeyIn(name="mine"), idempotency_key="k1")
    with served.http(served.token(alice)) as http:
        again = http.post(
            "/v1/keys",
            content=b'{"name":"mine","expires_in_days":365,"scopes":null}',
            headers={"idempotency-key": "k1", "content-type": "application/json"},
        )
    again_by_client = alice.keys.create(KeyIn(name="mine"), idempotency_key="k1")
    assert first.secret
    assert again_by_client.secret is None
    assert again_by_client.id == first.id
    assert again.status_code in (201, 409)  # the very bytes count, not what they mean


def test_a_dry_run_says_what_would_be_and_leaves_nothing(served_both):
    operator = served_both.operator
    made = operator.accounts.create(AccountIn(name="acme"), dry_run=True)
    assert made.name == "acme"
    with pytest.raises(errors.NotFound):
        operator.accounts.get(made.id)
    assert names(served_both) == ["operators"]
    entries = [entry.action for entry in operator.audit.all()]
    assert "POST /v1/accounts" not in entries
    with pytest.raises(errors.Conflict):
        operator.accounts.create(AccountIn(name="operators"), dry_run=True)
    with served_both.http(served_both.token(operator)) as http:
        answer = http.post("/v1/accounts?dry_run=true", json={"name": "acme"})
        bad = http.post("/v1/accounts?dry_run=perhaps", json={"name": "acme"})
    assert answer.headers["arable-dry-run"] == "true"
    assert bad.status_code == 400


def test_a_change_with_a_condition_is_made_once(served_both):
    operator = served_both.operator
    made = operator.accounts.create(AccountIn(name="acme"))
    token = served_both.token(operator)

    def rename(n: int) -> int:
        with served_both.http(token) as http:
            return http.patch(
                f"/v1/accounts/{made.id}",
                json={"name": f"acme-{n}"},
                headers={"if-match": f'"{made.generation}"'},
            ).status_code

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(rename, range(16)))
    assert told == [200] + [412] * 15
    assert operator.accounts.get(made.id).generation == made.generation + 1


def test_an_etag_is_what_if_match_takes(served):
    made = served.operator.accounts.create(AccountIn(name="acme"))
    with served.http(served.token(served.operator)) as http:
        etag = http.get(f"/v1/accounts/{made.id}").headers["etag"]
        done = http.patch(f"/v1/accounts/{made.id}", json={"name": "b"}, headers={"if-match": etag})
        for bad in ("1", 'W/"1"', '"1", "2"', '"x"', '"' + "9" * 40 + '"'):
            answer = http.patch(
                f"/v1/accounts/{made.id}", json={"name": "c"}, headers={"if-match": bad}
            )
            assert answer.status_code == 400, bad
    assert done.headers["etag"] != etag
    assert served.operator.accounts.get(made.id).name == "b"


def test_every_write_is_in_the_audit_with_who_what_and_how_it_ended(served_both):
    operator = served_both.operator
    alice = served_both.customer("alice")
    made = operator.domains.create(DomainIn(name="acme"))
    with pytest.raises(errors.Conflict):
        operator.domains.create(DomainIn(name="acme"))
    with pytest.raises(errors.Forbidden):
        alice.domains.create(DomainIn(name="mine"))
    with pytest.raises(errors.NotFound):
        operator.domains.delete("domain-000000000")
    with pytest.raises(errors.BadInput):
        operator.accounts.update(served_both.accounts["alice"], AccountChange(name="Not A Name"))
    found = [
        (entry.action, entry.outcome, entry.target)
        for entry in operator.audit.all(AuditQuery(limit=2))
        if "domains" in entry.action
    ]
    assert found == [
        ("DELETE /v1/domains/{domain}", "not-found", "domain-000000000"),
        ("POST /v1/domains", "forbidden", ""),
        ("POST /v1/domains", "conflict", ""),
        ("POST /v1/domains", "ok", made.id),
    ]
    (refused,) = operator.audit.page(AuditQuery(outcome="forbidden")).items
    assert refused.user == alice.users.whoami().user
    assert refused.via.startswith("session-")
    assert refused.request


def test_the_audit_is_for_those_who_may_read_it(served):
    alice = served.customer("alice")
    with pytest.raises(errors.Forbidden):
        alice.audit.page()
    acme = served.operator.domains.create(DomainIn(name="acme"))
    boss = served.customer("boss", role="domain-admin", domain=acme.id)
    boss.domains.create(DomainIn(name="labs"))
    seen = {entry.user for entry in boss.audit.all()}
    assert seen == {boss.users.whoami().user}


def test_the_request_id_of_an_answer_is_the_one_in_the_audit(served):
    with served.http(served.token(served.operator)) as http:
        answer = http.post("/v1/domains", json={"name": "acme"})
    entry = served.operator.audit.page().items[0]
    assert entry.request == answer.headers["arable-request"]


def test_secrets_are_neither_in_the_audit_nor_in_the_events_nor_in_kept_answers(served, caplog):
    canary = "canary-3f9a8b7c6d5e-secret"
    operator = served.operator
    with served.http(served.token(operator)) as http:
        for body, key in (
            ({"name": "u1", "password": canary}, "k1"),
            ({"name": "U", "password": canary}, "k2"),
        ):
            http.post("/v1/users", json=body, headers={"idempotency-key": key})
        http.post("/v1/sessions", json={"name": "u1", "password": canary})
        http.post("/v1/sessions", json={"name": "u1", "password": canary + "x"})
        http.post(
            "/v1/accounts",
            json={"name": "acme", "user": {"name": "u2", "password": canary}, "nonsense": canary},
        )
        secret = served.key(operator)
        http.get("/v1/whoami", headers={"authorization": f"Bearer {secret}"})
    served.writer.submit(audit.count).result()
    written = b"".join(path.read_bytes() for path in served.database_files())
    assert canary.encode() not in written
    assert secret.encode() not in written
    assert canary not in caplog.text
    assert secret not in caplog.text
