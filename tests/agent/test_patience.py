"""Failures are remembered, and repeated after longer and longer pauses."""

from datetime import timedelta

import pytest

from arable.agent.patience import FORGOTTEN_SECONDS, Patience, Waiting
from arable.domain.errors import NoRoom
from arable.runtime.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def patience(clock) -> Patience:
    return Patience(clock)


def fail(patience: Patience, error: Exception) -> None:
    with pytest.raises(type(error)), patience.attempt("x"):
        raise error


def test_a_failure_is_kept_with_its_reason_until_a_success(patience) -> None:
    fail(patience, NoRoom("full"))
    assert not patience.may("x")
    assert patience.may("y")
    assert (patience.of("x").told, patience.tries("x")) == ("full", 1)
    with patience.attempt("x"):
        pass
    assert patience.of("x") is None
    assert not patience


def test_each_pause_is_twice_as_long_up_to_a_limit(patience, clock) -> None:
    pauses = []
    for _ in range(12):
        fail(patience, NoRoom("full"))
        pauses.append(patience.next() - clock.monotonic())
        clock.wait(timedelta(seconds=pauses[-1]))
        assert patience.may("x")
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_waiting_is_no_failure(patience) -> None:
    fail(patience, Waiting("40 %"))
    assert patience.may("x")
    assert (patience.of("x").told, patience.tries("x")) == ("40 %", 0)
    assert patience.next() is None


def test_hurry_lets_it_be_tried_at_once_and_keeps_the_count(patience) -> None:
    fail(patience, NoRoom("full"))
    patience.hurry("x")
    assert patience.may("x")
    fail(patience, NoRoom("full"))
    assert patience.tries("x") == 2


def test_a_bug_is_not_taken_for_a_failure(patience) -> None:
    fail(patience, ZeroDivisionError())
    assert patience.of("x") is None


def test_troubles_of_what_nobody_tries_any_more_are_forgotten(patience, clock) -> None:
    fail(patience, NoRoom("full"))
    clock.wait(timedelta(seconds=FORGOTTEN_SECONDS))
    patience.prune()
    assert patience.of("x")
    clock.wait(timedelta(seconds=2))
    patience.prune()
    assert not patience
