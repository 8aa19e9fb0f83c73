"""What lasts is told once, rarely, and when it is over."""

import itertools
import logging

import pytest

from arable.runtime.seldom import FIRST_SECONDS, LONGEST_SECONDS, Seldom

log = logging.getLogger("test.seldom")


def test_it_is_said_once_then_ever_more_rarely_and_when_it_is_over(caplog) -> None:
    now = 0.0
    told = Seldom(log, lambda: now)
    at = []
    for second in range(6 * 3600):
        now = float(second)
        before = len(caplog.records)
        told.wrong("disk", f"try {second}")
        at += [second] * (len(caplog.records) - before)
    pauses = [late - early for early, late in itertools.pairwise(at)]
    assert at[0] == 0
    assert pauses[0] == FIRST_SECONDS
    assert all(b == min(2 * a, LONGEST_SECONDS) for a, b in itertools.pairwise(pauses))
    assert len(at) < 15
    caplog.clear()
    told.over("disk")
    told.over("disk")
    (line,) = caplog.messages
    assert line.startswith(f"over after {now:.0f} s")


@pytest.mark.parametrize("between", [True, False])
def test_what_comes_back_is_told_anew_and_another_trouble_is_another(caplog, between) -> None:
    told = Seldom(log, lambda: 0.0)
    told.wrong("a", "a is away")
    if between:
        told.over("a")
    told.wrong("a", "a is away")
    told.wrong("b", "b is away")
    assert caplog.messages.count("a is away") == (2 if between else 1)
    assert caplog.messages.count("b is away") == 1
