"""What a region signs for whom it let in, and what counts of it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.domain.errors import Unauthenticated
from arable.domain.sign_on import (
    KEPT,
    LIFE,
    LONGEST,
    ROTATE,
    SKEW,
    SPREADS,
    Claims,
    counts,
    is_due,
    millis,
    over,
    parsed,
    signing,
    text_of,
    to_sign,
    token,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def claims(**but) -> Claims:
    said = {
        "by": "eu",
        "key": "signkey-1",
        "to": "us",
        "account": "root/acme",
        "user": "ann",
        "may": ("machine:read",),
        "at": millis(NOW),
        "until": millis(NOW + LIFE),
    }
    return Claims(**{**said, **but})


def test_what_was_said_is_read():
    text = text_of(claims())
    assert parsed(token(text, b"s" * 64)) == (claims(), to_sign(text), b"s" * 64)


@given(st.text(max_size=200))
def test_any_other_text_is_refused_and_nothing_else(text):
    for said in (text, f"at_{text}", f"at_{text}.{text}"):
        with pytest.raises(Unauthenticated):
            parsed(said)


def test_what_is_too_long_is_not_looked_at():
    with pytest.raises(Unauthenticated):
        parsed(token(text_of(claims(user="a" * LONGEST)), b""))


@pytest.mark.parametrize(
    ("but", "own", "after"),
    [
        ({"to": "asia"}, "us", timedelta(0)),
        ({"by": "us"}, "us", timedelta(0)),
        ({}, "", timedelta(0)),
        ({"to": ""}, "", timedelta(0)),
        ({}, "us", LIFE),
        ({"at": millis(NOW + SKEW + timedelta(seconds=1))}, "us", timedelta(0)),
        ({"until": millis(NOW + LIFE) + 1}, "us", timedelta(0)),
        ({"until": millis(NOW)}, "us", -SKEW),
    ],
)
def test_it_counts_for_one_region_and_for_minutes(but, own, after):
    assert not counts(claims(**but), own, NOW + after, [])
    assert counts(claims(), "us", NOW, [])


def test_times_beyond_all_are_refused():
    with pytest.raises(Unauthenticated):
        counts(claims(at=1 << 62), "us", NOW, [])


def test_what_was_signed_until_it_was_taken_back_does_not_count():
    assert not counts(claims(), "us", NOW, [NOW])
    assert counts(claims(), "us", NOW, [NOW - timedelta(milliseconds=1)])


@dataclass(frozen=True)
class Key:
    created_at: datetime


@given(st.lists(st.integers(0, 40 * 24 * 60), max_size=4).map(sorted))
def test_keys_are_told_before_they_are_used_and_kept_until_nothing_counts_of_them(minutes):
    """As rounds go on for weeks: whatever was signed by a key while it was used, it is there until that is over."""
    keys = [Key(NOW - timedelta(minutes=each)) for each in minutes]
    at, used = NOW, {}
    for _ in range(60):
        if is_due(keys, at):
            keys.append(Key(at))
        for old in over(keys, at):
            keys.remove(old)
            assert at - used.get(old, at - KEPT) >= LIFE + SKEW
        now = signing(keys, at)
        assert now is not None
        assert now.created_at <= at - SPREADS or now == min(keys, key=lambda k: k.created_at)
        used[now] = at
        at += ROTATE / 13
    assert len(keys) <= 2


def test_claims_hold_no_more_than_is_said():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**msgspec.to_builtins(claims()), "rank": 3}, Claims)
