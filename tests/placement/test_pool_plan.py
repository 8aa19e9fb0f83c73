"""What is measured of a record, against a record that is played; and sizes against what they promise."""

from random import Random  # noqa: TID251 - seeded, of this test's own

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.placement.pool_plan import (
    DAY,
    DIMENSIONS,
    Day,
    Need,
    Record,
    Span,
    chances,
    forecast,
    hosts_for,
    measure,
    needed,
)
from arable.placement.pool_size import erlang_b

SMALL, LARGE = Need(1000, 512), Need(4000, 1024)
needs = st.lists(
    st.builds(Need, st.integers(1, 20).map(lambda n: n * 500), st.integers(1, 20).map(lambda n: n * 256)),
    min_size=1, max_size=4, unique=True,
)  # fmt: skip


@given(
    st.lists(st.tuples(st.floats(0, 9 * DAY), st.floats(60, 5 * DAY)), max_size=30),
    st.floats(DAY / 2, 9 * DAY),
)
@settings(deadline=None)
def test_what_machines_held_is_reckoned_back_from_those_that_are_there(stays, now) -> None:
    first = DAY / 2  # day 0 began half a day ago
    begins = now - first
    came = [(at, at + span) for at, span in stays if at <= now]
    days: dict[int, list[float]] = {}
    for at, gone in came:
        for when, sign in ((at, 1), (gone, -1)):
            if when > now:
                continue
            back = 0 if when >= begins else int((begins - when) // DAY) + 1
            end = now if back == 0 else begins - (back - 1) * DAY
            day = days.setdefault(back, [0, 0, 0.0])
            day[0 if sign == 1 else 1] += 1
            day[2] += sign * (end - when)
    there = sum(1 for _, gone in came if gone > now)
    record = Record(SMALL, there, {b: Day(came=c, went=w, held=h) for b, (c, w, h) in days.items()})
    found = measure(record, Span(first, now), days=20)
    held = sum(min(gone, now) - at for at, gone in came)
    assert found.seconds == pytest.approx(now)
    assert found.load == pytest.approx(held / now, abs=1e-6)
    assert found.stay == (pytest.approx(held / len(came), abs=1e-3) if came else None)


def test_who_was_refused_would_have_stayed_as_long_as_others() -> None:
    record = Record(SMALL, 0, {0: Day(came=10, went=10, refused=5, held=10 * 3600.0)})
    found = measure(record, Span(DAY, DAY))
    assert (found.arrivals, found.refused, found.stay) == (15, 5, 3600.0)
    assert found.load == pytest.approx(15 * 3600 / DAY)


def test_who_came_again_wanted_room_once() -> None:
    record = Record(SMALL, 1, {0: Day(came=3, again=2, went=2, held=DAY / 2)})
    found = measure(record, Span(DAY, DAY))
    assert (found.arrivals, found.stay) == (1, DAY / 2)


def test_of_a_size_that_never_found_room_each_counts_as_one_that_would_be_there() -> None:
    found = measure(Record(LARGE, 0, {1: Day(refused=3)}), Span(DAY, 2 * DAY))
    assert (found.arrivals, found.load, found.stay) == (3, 3.0, None)


def test_without_any_time_there_is_what_there_is() -> None:
    assert measure(Record(SMALL, 4, {}), Span(DAY, 0.0)).load == 4.0


# --- forecasts


def weeks(*amounts: int) -> tuple[list[Record], Span]:
    """So many machines in each week, the last one first."""
    days = {
        week * 7: Day(came=max(now - before, 0), went=max(before - now, 0), held=(now - before) * DAY)
        for week, (now, before) in enumerate(zip(amounts, (*amounts[1:], amounts[-1]), strict=True))
    }  # fmt: skip
    # What changes from one week to the next does so at the beginning of its first day, the last one counted back.
    moved = {back + 6: day for back, day in days.items()}
    return [Record(SMALL, amounts[0], moved)], Span(DAY, len(amounts) * 7 * DAY)


def test_a_straight_line_goes_on() -> None:
    records, span = weeks(60, 50, 40, 30, 20, 10)
    found = forecast(records, span, "cpu_mhz", 35)
    assert found is not None
    assert found.weeks == 6
    assert found.expected == pytest.approx((60 + 10 * 5.5) / 60, rel=1e-6)
    assert found.low == pytest.approx(found.high, rel=1e-6)


def test_what_varies_has_a_wide_interval_about_its_line() -> None:
    records, span = weeks(50, 70, 40, 60, 55, 45)
    found = forecast(records, span, "memory_mib", 30)
    assert found is not None
    assert found.low < found.expected < found.high
    assert found.high - found.low > 0.5


def test_too_few_weeks_are_no_trend() -> None:
    records, span = weeks(60, 50, 40)
    assert forecast(records, span, "cpu_mhz", 30) is None


def test_nothing_can_grow_by_no_factor() -> None:
    assert forecast([Record(SMALL, 0, {})], Span(DAY, 60 * DAY), "cpu_mhz", 30) is None


# --- chances and sizes


@given(needs, st.data())
@settings(deadline=None, max_examples=25)
def test_with_what_is_needed_no_size_is_refused_more_often_than_the_target(these, data) -> None:
    loads = [data.draw(st.floats(0.01, 40)) for _ in these]
    target = data.draw(st.sampled_from([0.2, 0.05, 0.01, 0.001]))
    asked = needed(these, [dict.fromkeys(DIMENSIONS, load) for load in loads], target)
    found = chances(these, loads, Need(**asked))
    assert max(found) <= target + 1e-9


def test_a_pool_of_tens_of_thousands_is_reckoned_as_one_size_that_varies_as_much() -> None:
    """One size alone needs no such trick: Erlang's formula itself says what is right."""
    loads = [{"cpu_mhz": 20_000.0, "memory_mib": 1.0}]
    asked = needed([SMALL], loads, 0.01)["cpu_mhz"]
    assert erlang_b(asked // 1000, 20_000) <= 0.01 < erlang_b(asked // 1000 - 1, 20_000)
    assert chances([SMALL], [20_000.0], Need(asked, 10**12)) == [pytest.approx(0.01, rel=0.01)]


def test_what_large_pools_are_reckoned_by_agrees_with_all_states_counted() -> None:
    sizes, loads, target = [SMALL, Need(2000, 512), LARGE], [150.0, 90.0, 60.0], 0.01
    exact = needed(sizes, [dict.fromkeys(DIMENSIONS, load) for load in loads], target)["cpu_mhz"]
    many = 12  # times as many: too many for steps
    large = needed(sizes, [dict.fromkeys(DIMENSIONS, load * many) for load in loads], target)[
        "cpu_mhz"
    ]
    mean = sum(need.cpu_mhz * load for need, load in zip(sizes, loads, strict=True))
    # What is needed beyond the mean grows as the root of how many there are, and a little less at a target like this.
    assert mean * many < large < mean * many + (exact - mean) * many**0.5
    apart = chances(sizes, [load * many for load in loads], Need(large, 10**12))
    assert apart[2] == pytest.approx(4 * apart[0])
    assert max(apart) == pytest.approx(target, rel=0.02)


def test_the_scarcer_dimension_decides() -> None:
    asked = {"cpu_mhz": 10_000, "memory_mib": 9_000}
    assert hosts_for(asked, Need(20_000, 4_000), 4) == (9, "memory_mib")
    assert hosts_for(asked, Need(20_000, 400_000), 4) == (2, "cpu_mhz")
    assert hosts_for(asked, Need(0, 0), 0) is None


def test_what_is_reckoned_is_what_happens_to_machines_that_are_played() -> None:
    """Two sizes come by chance and stay for times of two kinds; CPU is scarce. Nothing is told of how they were drawn."""
    dice, total = Random(7), 24_000
    sizes = {SMALL: (6 / 3600, 5400.0), LARGE: (1 / 3600, 7200.0)}
    end = 300 * 3600.0
    played: list[tuple[float, int, Need]] = []
    for need, (rate, _) in sizes.items():
        at = dice.expovariate(rate)
        while at < end:
            played.append((at, 1, need))
            at += dice.expovariate(rate)
    played.sort()
    free, leaving, held = total, [], dict.fromkeys(sizes, 0.0)
    came, refused = dict.fromkeys(sizes, 0), dict.fromkeys(sizes, 0)
    for at, _, need in played:
        gone = [each for each in leaving if each[0] <= at]
        leaving = [each for each in leaving if each[0] > at]
        free += sum(each[1].cpu_mhz for each in gone)
        if need.cpu_mhz > free:
            refused[need] += 1
            continue
        came[need] += 1
        mean = sizes[need][1]
        # Long and short ones, of that mean: which kind of chance it is has no say.
        stay = dice.choice((0.2 * mean, 1.8 * mean))
        free -= need.cpu_mhz
        leaving.append((at + stay, need))
        held[need] += min(at + stay, end) - at
    there = {need: sum(each[1] == need and each[0] > end for each in leaving) for need in sizes}
    measured = [
        measure(
            Record(
                need,
                there[need],
                {0: Day(came[need], 0, refused[need], came[need] - there[need], held[need])},
            ),
            Span(end, end),
        )
        for need in sizes
    ]
    found = chances(list(sizes), [each.load for each in measured], Need(total, 10**9))
    for need, chance in zip(sizes, found, strict=True):
        seen = refused[need] / (came[need] + refused[need])
        assert chance == pytest.approx(seen, abs=0.03), need
    assert 0.02 < found[0] < found[1]
