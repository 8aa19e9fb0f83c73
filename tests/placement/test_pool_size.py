"""The formulas of lost calls against what they stand for: sums, tables, all states of small systems, and a played queue."""

import heapq
from itertools import product
from math import factorial, prod
from random import Random  # noqa: TID251 - seeded, of this test's own

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.placement.pool_size import Class, blocking, erlang_b, units_for

loads = st.floats(0, 30)
mixes = st.lists(
    st.builds(Class, units=st.integers(1, 4), load=st.floats(0, 6)), min_size=1, max_size=3
)


@given(st.integers(0, 40), loads)
@settings(deadline=None)
def test_erlang_b_is_the_share_of_the_full_state(servers, load) -> None:
    weights = [load**n / factorial(n) for n in range(servers + 1)]
    assert erlang_b(servers, load) == pytest.approx(weights[-1] / sum(weights), rel=1e-9)


@pytest.mark.parametrize(
    ("servers", "load", "blocked"),
    [(1, 0.0101, 0.01), (5, 1.361, 0.01), (10, 4.461, 0.01), (20, 12.03, 0.01), (50, 37.90, 0.01),
     (100, 84.06, 0.01), (10, 6.216, 0.05), (100, 95.24, 0.05), (10, 3.092, 0.001)],
)  # fmt: skip
def test_erlang_b_is_what_printed_tables_say(servers, load, blocked) -> None:
    assert erlang_b(servers, load) == pytest.approx(blocked, rel=0.005)


@given(st.integers(0, 40), st.integers(1, 4), loads)
@settings(deadline=None)
def test_one_size_is_erlang_b_in_steps_of_that_size(units, size, load) -> None:
    (blocked,) = blocking([Class(size, load)], units)
    assert blocked == pytest.approx(erlang_b(units // size, load), rel=1e-9)


@given(mixes, st.integers(0, 9))
@settings(deadline=None)
def test_several_sizes_are_as_all_states_counted_one_by_one(classes, units) -> None:
    states = {
        state: prod(each.load**n / factorial(n) for each, n in zip(classes, state, strict=True))
        for state in product(*(range(units // each.units + 1) for each in classes))
        if taken(classes, state) <= units
    }
    total = sum(states.values())
    for each, blocked in zip(classes, blocking(classes, units), strict=True):
        full = sum(w for state, w in states.items() if taken(classes, state) > units - each.units)
        assert blocked == pytest.approx(full / total, rel=1e-9, abs=1e-12)


def taken(classes, state) -> int:
    return sum(each.units * n for each, n in zip(classes, state, strict=True))


@given(mixes, st.floats(0.001, 0.5))
@settings(deadline=None)
def test_the_size_for_a_target_is_the_first_that_meets_it(classes, target) -> None:
    needed = units_for(classes, target, 500)
    assert needed is not None

    def meets(units: int) -> bool:
        told = zip(classes, blocking(classes, units), strict=True)
        return all(blocked <= target for each, blocked in told if each.load)

    assert meets(needed)
    assert not any(meets(units) for units in range(needed))
    if needed:
        assert units_for(classes, target, needed - 1) is None


def test_a_pool_of_tens_of_thousands_is_reckoned_without_losing_a_digit() -> None:
    assert blocking([Class(1, 20_000)], 20_100) == [pytest.approx(erlang_b(20_100, 20_000))]
    needed = units_for([Class(1, 20_000)], 0.01, 30_000)
    assert needed is not None
    assert erlang_b(needed, 20_000) <= 0.01 < erlang_b(needed - 1, 20_000)


def test_nobody_who_comes_needs_no_room() -> None:
    assert units_for([Class(4, 0.0)], 0.01, 10) == 0
    assert units_for([], 0.01, 10) == 0
    assert blocking([Class(4, 0.0)], 3) == [1.0]


@pytest.mark.parametrize(
    ("units", "load"), [(0, 1.0), (1, -1.0), (1, float("nan")), (1, float("inf"))]
)
def test_what_makes_no_sense_is_refused(units, load) -> None:
    with pytest.raises(ValueError, match="nothing can be reckoned"):
        Class(units, load)


@pytest.mark.parametrize("steady", [True, False])
def test_a_played_pool_refuses_as_many_however_long_each_stays(steady) -> None:
    """Two sizes in 20 units, 100,000 arrivals; times are exponential, or all the same."""
    classes, dice = [Class(1, 9.0), Class(4, 2.0)], Random(7)
    rate = sum(each.load for each in classes)  # all stay one unit of time in the mean
    now, free = 0.0, 20
    leaving: list[tuple[float, int]] = []
    came, refused = [0, 0], [0, 0]
    for _ in range(100_000):
        now += dice.expovariate(rate)
        while leaving and leaving[0][0] <= now:
            free += heapq.heappop(leaving)[1]
        which = int(dice.random() * rate >= classes[0].load)
        came[which] += 1
        if classes[which].units > free:
            refused[which] += 1
            continue
        free -= classes[which].units
        heapq.heappush(
            leaving, (now + (1.0 if steady else dice.expovariate(1.0)), classes[which].units)
        )
    played = [lost / all_ for lost, all_ in zip(refused, came, strict=True)]
    assert played == pytest.approx(blocking(classes, 20), rel=0.03)
