"""What is kept of a secret must not be the secret, and only the secret must match it."""

import crypt_r
import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.errors import BadInput, Unauthenticated
from arable.domain.ids import KeyId, SessionId
from arable.runtime import tokens
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.secret import Secret

AUTHORITY = "0123456789abcdef" * 4
PARSERS = [tokens.api_key_id, tokens.session_id, tokens.join_token]

passwords = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60
)


@pytest.fixture
def entropy() -> Entropy:
    return Entropy("tokens")


def test_an_api_key_names_its_row_and_matches_what_is_kept(entropy) -> None:
    key = KeyId(Ids(VirtualClock(), entropy).new("key"))
    issued = tokens.new_api_key(key, entropy)
    text = issued.text.reveal()
    assert text.startswith(f"ak_{key.removeprefix('key-')}_")
    assert tokens.api_key_id(text) == key
    assert tokens.matches(text, issued.digest)


def test_a_session_names_its_row_and_matches_what_is_kept(entropy) -> None:
    session = SessionId(Ids(VirtualClock(), entropy).new("session"))
    issued = tokens.new_session(session, entropy)
    assert tokens.session_id(issued.text.reveal()) == session
    assert tokens.matches(issued.text.reveal(), issued.digest)


def test_a_join_token_finds_its_row_and_pins_the_authority(entropy) -> None:
    issued = tokens.new_join_token(AUTHORITY, entropy)
    assert tokens.join_token(issued.text.reveal()) == tokens.JoinToken(issued.digest, AUTHORITY)


def test_a_join_token_for_another_authority_finds_the_same_row(entropy) -> None:
    issued = tokens.new_join_token(AUTHORITY, entropy)
    changed = issued.text.reveal().replace(AUTHORITY, "f" * 64)
    assert tokens.join_token(changed).digest == issued.digest


def test_the_same_secret_under_another_id_does_not_match(entropy) -> None:
    issued = tokens.new_api_key(KeyId("key-mine"), entropy)
    assert not tokens.matches(issued.text.reveal().replace("mine", "yours"), issued.digest)


def test_no_two_tokens_are_the_same(entropy) -> None:
    made = {tokens.new_api_key(KeyId("key-a"), entropy).digest for _ in range(100)}
    assert len(made) == 100


def test_what_is_kept_does_not_hold_the_secret(entropy) -> None:
    issued = tokens.new_api_key(KeyId("key-a"), entropy)
    secret = issued.text.reveal().rpartition("_")[2]
    assert len(secret) == 40
    assert secret not in repr(issued)
    assert isinstance(issued.text, Secret)
    assert len(issued.digest) == 64


def test_one_kind_of_token_does_not_pass_as_another(entropy) -> None:
    made = [
        tokens.new_api_key(KeyId("key-a"), entropy),
        tokens.new_session(SessionId("session-a"), entropy),
        tokens.new_join_token(AUTHORITY, entropy),
    ]
    for at, issued in enumerate(made):
        for parser in PARSERS[:at] + PARSERS[at + 1 :]:
            with pytest.raises(Unauthenticated):
                parser(issued.text.reveal())


@given(text=st.text(st.characters(), max_size=120), change=st.integers(0, 105))
@settings(deadline=None)
def test_other_text_is_nobody_and_never_an_accident(text, change) -> None:
    good = tokens.new_join_token(AUTHORITY, Entropy("a")).text.reveal()
    for candidate in (text, good + text, good[:change] + good[change + 1 :], good + "\n"):
        for parser in PARSERS:
            if candidate == good:
                continue
            with pytest.raises(Unauthenticated):
                parser(candidate)
    assert not tokens.matches(text, tokens.digest(good))


@given(password=passwords, other=passwords)
@settings(deadline=None, max_examples=10)
def test_a_password_matches_itself_alone(password, other) -> None:
    kept = tokens.hash_password(password, Entropy(password))
    assert kept.startswith("$argon2id$")
    assert tokens.check_password(password, kept)
    assert tokens.check_password(other, kept) == (password == other)


def test_the_same_password_is_kept_differently_each_time(entropy) -> None:
    made = {tokens.hash_password("secret", entropy) for _ in range(3)}
    assert len(made) == 3


def test_a_user_who_does_not_exist_has_no_password() -> None:
    assert not tokens.check_password("secret", None)


def test_the_password_of_nobody_costs_as_much_as_any_other(entropy) -> None:
    # Otherwise the time of a refused login would tell which users exist.
    assert not tokens.needs_rehash(tokens._NOBODY)


@pytest.mark.parametrize("kept", ["", "x", "$argon2id$", "$6$abc$def", "plain"])
def test_a_broken_hash_lets_nobody_in(kept) -> None:
    assert not tokens.check_password(kept or "x", kept)


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 1025, "\ud800"])
def test_a_password_that_could_be_cut_short_is_refused(entropy, password) -> None:
    for make in (tokens.hash_password, tokens.crypt_password):
        with pytest.raises(BadInput) as refused:
            make(password, entropy)
        assert refused.value.field == "password"
    assert not tokens.check_password(password, tokens.hash_password("a", entropy))


def test_a_weaker_hash_is_made_anew(entropy) -> None:
    assert tokens.needs_rehash(PasswordHasher(time_cost=1, memory_cost=64).hash("secret"))
    assert not tokens.needs_rehash(tokens.hash_password("secret", entropy))


@given(password=passwords)
@settings(deadline=None, max_examples=10)
def test_a_guest_checks_its_password_as_unix_does(password) -> None:
    kept = tokens.crypt_password(password, Entropy(password))
    assert kept.startswith("$6$")
    assert not set(kept) & set(":\n'\" ")
    assert crypt_r.crypt(password, kept) == kept
    assert crypt_r.crypt(password + "x", kept) != kept
