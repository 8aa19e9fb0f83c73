"""Signing in, signing out, and what tokens are worth."""

import pytest

from arable.client import errors
from arable.wire.users import KeyIn, PasswordIn, SessionIn, UserChange, UserIn
from serving import PASSWORD


def test_the_first_operator_signs_in_and_is_told_who_they_are(served_both):
    me = served_both.operator.users.whoami()
    assert (me.name, me.role, me.path) == ("operator", "operator", "root")


def test_a_wrong_password_and_an_unknown_name_read_the_same(served):
    with served.http() as http:
        told = [
            http.post("/v1/sessions", json={"name": name, "password": "wrong password"})
            for name in ("operator", "nobody-at-all")
        ]
    assert [answer.status_code for answer in told] == [401, 401]
    bodies = [answer.json() | {"instance": ""} for answer in told]
    assert bodies[0] == bodies[1]


def test_a_field_that_is_not_known_is_refused_at_sign_in(served):
    with served.http() as http:
        answer = http.post(
            "/v1/sessions",
            json={"name": "operator", "password": served.first.password.reveal(), "otp": ""},
        )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "otp"


def test_guessing_is_slowed_down_before_any_password_is_hashed(served):
    with served.http() as http:
        told = [
            http.post("/v1/sessions", json={"name": "operator", "password": f"guess {n}"})
            for n in range(12)
        ]
        other = http.post("/v1/sessions", json={"name": "another", "password": "guess"})
    assert {answer.status_code for answer in told[:8]} == {401}
    assert {answer.status_code for answer in told[9:]} == {429}
    assert int(told[-1].headers["retry-after"]) >= 1
    assert other.status_code == 401


def test_a_session_that_was_ended_counts_no_longer(served):
    alice = served.customer("alice")
    alice.users.whoami()
    alice.sessions.end()
    with pytest.raises(errors.Unauthenticated):
        alice.users.whoami()


def test_one_can_end_ones_other_sessions_but_nobody_elses(served):
    alice, bob = served.customer("alice"), served.customer("bob")
    (of_bob,) = bob.sessions.all()
    with pytest.raises(errors.NotFound):
        alice.sessions.delete(of_bob.id)
    assert bob.users.whoami().name == "bob"


def test_a_new_password_needs_the_old_one_and_ends_other_sessions(served):
    alice, elsewhere = served.customer("alice"), served.client()
    elsewhere.sign_in("alice", PASSWORD)
    me = alice.users.whoami().user
    with pytest.raises(errors.BadInput) as no_old:
        alice.users.change_password(me, PasswordIn(new="another password"))
    assert "old" in no_old.value.fields
    with pytest.raises(errors.Forbidden):
        alice.users.change_password(me, PasswordIn(new="another password", old="not that"))
    alice.users.change_password(me, PasswordIn(new="another password", old=PASSWORD))
    assert alice.users.whoami().name == "alice"
    with pytest.raises(errors.Unauthenticated):
        elsewhere.users.whoami()
    with pytest.raises(errors.Unauthenticated):
        elsewhere.sign_in("alice", PASSWORD)
    elsewhere.sign_in("alice", "another password")


def test_a_disabled_user_and_the_users_of_a_disabled_account_are_shut_out_at_once(served):
    alice = served.customer("alice")
    me = alice.users.whoami()
    served.operator.users.update(me.user, UserChange(enabled=False))
    with pytest.raises(errors.Unauthenticated):
        alice.users.whoami()
    with pytest.raises(errors.Unauthenticated):
        served.client().sign_in("alice", PASSWORD)
    served.operator.users.update(me.user, UserChange(enabled=True))
    assert alice.users.whoami().name == "alice"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic b3BlcmF0b3I6eA==",
        "Bearer",
        "Bearer nonsense",
        "Bearer ak_1_2",
        "Bearer as_000000000000_" + "0" * 40,
        "Bearer ak_000000000000_" + "0" * 40,
        "Bearer join." + "0" * 40 + "." + "0" * 64,
        "Bearer " + "x" * 5000,
    ],
)
def test_what_is_no_credential_lets_nobody_in(served, header):
    with served.http() as http:
        answer = http.get("/v1/whoami", headers={"authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_identity_in_headers_that_a_client_can_set_means_nothing(served):
    alice = served.customer("alice")
    with served.http(served.token(alice)) as http:
        answer = http.post(
            "/v1/keys",
            json={"name": "mine", "scopes": ["machine:read"]},
            headers={
                "x-forwarded-for": "1.2.3.4",
                "x-caller": served.first.user,
                "x-user": served.first.user,
                "forwarded": "for=1.2.3.4",
            },
        )
    assert answer.json()["user"] == alice.users.whoami().user
    entry = next(iter(served.operator.audit.page().items))
    assert entry.source == "127.0.0.1"


def test_a_key_does_no_more_and_lives_no_longer_than_what_made_it(served):
    alice = served.customer("alice")
    secret = served.key(alice, scopes=("key:write", "machine:read"), expires_in_days=3)
    narrow = served.client(secret)
    assert narrow.users.whoami().permissions == ["key:write", "machine:read"]
    with pytest.raises(errors.Forbidden) as wider:
        narrow.keys.create(KeyIn(name="wider", scopes=("machine:write",)))
    assert "scopes" in wider.value.fields
    child = narrow.keys.create(KeyIn(name="child", expires_in_days=3000))
    (parent,) = [each for each in alice.keys.all() if each.name == "test"]
    assert child.expires_at == parent.expires_at
    assert set(child.scopes) == {"key:write", "machine:read"}


def test_a_credential_with_few_scopes_makes_no_user_who_may_more(served):
    narrow = served.client(served.key(served.operator, scopes=("account:write", "account:read")))
    with pytest.raises(errors.Forbidden):
        narrow.users.create(UserIn(name="mallory", role="operator", password=PASSWORD))
    operator = served.operator.users.whoami().user
    served.operator.users.create(UserIn(name="second", role="operator", password=PASSWORD))
    (second,) = [each for each in served.operator.users.all() if each.name == "second"]
    with pytest.raises(errors.Forbidden):
        narrow.users.change_password(second.id, PasswordIn(new="taken over now"))
    with pytest.raises(errors.Forbidden):
        narrow.users.change_password(operator, PasswordIn(new="taken over now", old="x"))


def test_a_deleted_key_counts_no_longer_at_once(served_both):
    alice = served_both.customer("alice")
    key = alice.keys.create(KeyIn(name="short"))
    by_key = served_both.client(key.secret or "")
    assert by_key.users.whoami().via == key.id
    alice.keys.delete(key.id)
    with pytest.raises(errors.Unauthenticated):
        by_key.users.whoami()


def test_a_keys_text_is_shown_once_and_is_not_in_the_database(served):
    alice = served.customer("alice")
    made = alice.keys.create(KeyIn(name="mine"))
    assert made.secret
    with served.http(served.token(alice)) as http:
        later = http.get(f"/v1/keys/{made.id}").text + http.get("/v1/keys").text
    assert made.secret not in later
    assert made.secret.encode() not in (
        b"".join(path.read_bytes() for path in served.database_files())
    )


def test_another_users_keys_are_seen_by_administrators_alone(served):
    alice = served.customer("alice")
    me = alice.users.whoami()
    served.operator.users.create(
        UserIn(name="carol", account=me.account, role="customer", password=PASSWORD)
    )
    carol = served.client()
    carol.sign_in("carol", PASSWORD)
    key = alice.keys.create(KeyIn(name="mine"))
    with pytest.raises(errors.NotFound):
        carol.keys.get(key.id)
    with pytest.raises(errors.NotFound):
        carol.keys.delete(key.id)
    assert served.operator.keys.get(key.id).name == "mine"


def test_signing_in_takes_no_idempotency_key_and_no_dry_run(served):
    body = {"name": "operator", "password": served.first.password.reveal()}
    with served.http() as http:
        keyed = http.post("/v1/sessions", json=body, headers={"idempotency-key": "k"})
        dry = http.post("/v1/sessions?dry_run=true", json=body)
    assert (keyed.status_code, dry.status_code) == (400, 400)


def test_a_session_is_over_after_its_time(served):
    made = served.client()
    session = made.sessions.create(
        SessionIn(name="operator", password=served.first.password.reveal())
    )
    assert (session.expires_at - session.created_at).total_seconds() == 12 * 3600
