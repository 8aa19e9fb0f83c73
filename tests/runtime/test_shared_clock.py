"""A server's time is the database's, however wrong its own clock is."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from arable.runtime.clock import VirtualClock
from arable.runtime.shared_clock import SharedClock

THERE = datetime(2031, 5, 5, 12, tzinfo=UTC)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def told() -> tuple[SharedClock, VirtualClock]:
    own = VirtualClock()
    shared = SharedClock(own)
    shared.heard(THERE, own.monotonic(), own.monotonic())
    return shared, own


def test_until_the_database_was_reached_there_is_only_the_own_clock() -> None:
    own = VirtualClock()
    assert SharedClock(own).now() == own.now()


def test_time_goes_on_between_two_heartbeats() -> None:
    shared, own = told()
    own.wait(seconds(3))
    assert shared.now() == THERE + seconds(3)


def test_a_wall_clock_that_is_set_changes_nothing() -> None:
    shared, own = told()
    own.jump(seconds(-900))
    own.wait(seconds(1))
    assert shared.now() == THERE + seconds(1)


def test_a_slow_answer_that_may_agree_changes_nothing() -> None:
    shared, own = told()
    asked = own.monotonic()
    own.wait(seconds(8))
    shared.heard(THERE + seconds(2), asked, own.monotonic())
    assert shared.now() == THERE + seconds(8)


def test_a_database_whose_clock_is_set_is_followed() -> None:
    shared, own = told()
    for jump in (600, -600):
        there = shared.now() + seconds(jump)
        shared.heard(there, own.monotonic(), own.monotonic())
        assert shared.now() == there


@given(
    st.lists(
        st.tuples(st.floats(0, 20), st.floats(0, 5), st.floats(0, 1)), min_size=1, max_size=20
    ),
    st.floats(0.985, 1.015),
)
def test_it_is_never_wrong_by_more_than_an_answer_takes_and_the_clock_drifts(
    beats: list[tuple[float, float, float]], rate: float
) -> None:
    own = VirtualClock()
    shared, true = SharedClock(own), 0.0
    for pause, took, when in beats:
        own.wait(seconds((pause + took) * rate))
        true += pause + took
        answered = own.monotonic()
        at = THERE + seconds(true - took * (1 - when))
        shared.heard(at, answered - took * rate, answered)
        wrong = abs((shared.now() - (THERE + seconds(true))).total_seconds())
        assert wrong <= took * 1.016 + 1e-4
