"""The door: failures count against their source alone, and time forgives them."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.api.gateway import door
from arable.api.gateway.door import FAILURES, FORGIVEN, Door
from arable.domain.errors import TooOften
from arable.runtime.clock import VirtualClock

MOMENTS = st.lists(
    st.tuples(st.sampled_from(["fails", "comes"]), st.floats(0, 3 * FORGIVEN)), max_size=60
)


@settings(deadline=None)
@given(MOMENTS)
def test_failures_are_bounded_whatever_a_source_does_and_the_wait_that_is_told_is_enough(moments):
    clock = VirtualClock()
    made, began, failures = Door(clock), clock.monotonic(), 0
    for what, later in moments:
        clock.wait(timedelta(seconds=later))
        try:
            made.check("a")
        except TooOften as error:
            clock.wait(timedelta(seconds=error.why["retry_after"]))
            made.check("a")
        if what == "fails":
            made.failed("a")
            failures += 1
        made.check("b")
    assert failures <= FAILURES + 1 + (clock.monotonic() - began) / FORGIVEN


def test_the_door_remembers_so_many_sources_and_no_more(monkeypatch):
    monkeypatch.setattr(door, "_SOURCES", 3)
    made = Door(VirtualClock())
    for source in "abcd":
        for _ in range(FAILURES):
            made.failed(source)
    made.check("a")  # forgotten: the price of bounded memory
    for source in "bcd":
        with pytest.raises(TooOften):
            made.check(source)
