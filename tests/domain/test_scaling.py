"""Counts that follow their load, and windows that keep a clock of their own; on virtual time."""

import math
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.scaling import (
    Bounds,
    Decision,
    Load,
    Memory,
    Metric,
    Policy,
    Step,
    Target,
    Window,
    decide,
    least_now,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
WIDE = Bounds(1, 1000)
EACH = 50  # requests a second that are right for one
TRACKS = Policy(targets=(Target(metric=Metric.REQUESTS, value=EACH),))


class Tier:
    """One that is looked at every five seconds, and whose new elements serve by the next look."""

    def __init__(self, policy: Policy, count: int, bounds: Bounds = WIDE) -> None:
        self.policy, self.count, self.bounds = policy, count, bounds
        self.memory, self.at, self.last = Memory(), NOW, NOW
        self.whys: list[str] = []

    def look(self, serving: int | None = None, old: float = 0, **figures: float) -> int:
        self.at += timedelta(seconds=5)
        named = {Metric[name.upper()]: value for name, value in figures.items()}
        load = Load(self.at - timedelta(seconds=old), named)
        serves = self.count if serving is None else serving
        made = decide(self.policy, self.bounds, serves, self.count, load, self.memory, self.at)
        if made.count != self.count:
            self.last = self.at
            assert made.why
            self.whys.append(made.why)
        else:
            assert not made.why
        self.count, self.memory = made.count, made.memory
        return self.count

    def since_last(self) -> float:
        return (self.at - self.last).total_seconds()


metrics = st.sampled_from(list(Metric))
figures = st.dictionaries(metrics, st.floats(0, 1e6))
policies = st.builds(
    Policy,
    targets=st.lists(st.builds(Target, metric=metrics, value=st.integers(1, 500)), max_size=3).map(
        tuple
    ),
    steps=st.lists(
        st.builds(
            Step,
            metric=metrics,
            above=st.integers(1, 500),
            seconds=st.integers(0, 60),
            add=st.integers(1, 5),
        ),
        max_size=2,
    ).map(tuple),
    up_seconds=st.integers(0, 60),
    down_seconds=st.integers(0, 600),
)
bounds = st.tuples(st.integers(0, 20), st.integers(0, 80)).map(lambda two: Bounds(two[0], sum(two)))
moments = st.none() | st.integers(0, 700).map(lambda seconds: NOW - timedelta(seconds=seconds))


@st.composite
def situations(draw):
    """Anything that a policy can be asked."""
    policy = draw(policies)
    memory = draw(
        st.builds(
            Memory,
            fewer_since=moments,
            up_at=moments,
            above=st.lists(moments, max_size=2).map(tuple),
        )
    )
    count = draw(st.integers(0, 100))
    return policy, draw(bounds), draw(st.integers(0, count)), count, memory


def asked(situation, load: Load | None) -> Decision:
    policy, within, serving, count, memory = situation
    return decide(policy, within, serving, count, load, memory, NOW)


@given(situations(), figures)
@settings(deadline=None)
def test_a_count_stays_in_its_bounds_and_never_more_than_doubles(situation, told) -> None:
    _, within, _, count, _ = situation
    made = asked(situation, Load(NOW, told))
    assert within.least <= made.count <= within.most
    assert made.count <= max(1, 2 * count, within.least)
    assert bool(made.why) == (made.count != count)


@given(situations(), figures, st.floats(1, 100))
@settings(deadline=None)
def test_more_load_never_means_fewer_elements(situation, told, times) -> None:
    more = {metric: value * times for metric, value in told.items()}
    assert asked(situation, Load(NOW, more)).count >= asked(situation, Load(NOW, told)).count


@given(situations(), figures, st.floats(30.001, 1e6))
@settings(deadline=None)
def test_what_is_not_known_or_old_changes_nothing_that_bounds_allow(situation, told, old) -> None:
    _, within, _, count, _ = situation
    for load in (None, Load(NOW - timedelta(seconds=old), told), Load(NOW, {})):
        made = asked(situation, load)
        assert made.count == within.within(count)
        assert made.memory.fewer_since is None


@given(st.integers(1, 400), st.lists(st.floats(-0.08, 0.08), min_size=20, max_size=150))
@settings(deadline=None, max_examples=40)
def test_a_load_that_swings_a_little_round_the_target_changes_nothing(count, swings) -> None:
    policy = Policy(targets=TRACKS.targets, down_seconds=60)
    tier = Tier(policy, count)
    for swing in swings:
        assert tier.look(requests=EACH * count * (1 + swing)) == count


@given(st.integers(1, 200), st.floats(1, 4))
@settings(deadline=None)
def test_four_times_as_much_is_met_in_two_decisions(count, times) -> None:
    tier = Tier(TRACKS, count)
    needed = count * times
    for _ in range(2):
        tier.look(requests=EACH * needed)
    assert needed / 1.1 - 1e-9 <= tier.count <= max(count, math.ceil(needed))
    if needed > count * 2.2:  # else what the first one made may be near enough
        assert tier.count == math.ceil(needed)


@given(st.integers(1, 60), st.floats(0, 60))
@settings(deadline=None, max_examples=30)
def test_a_load_that_stays_comes_to_one_count_and_rests_there(count, needed) -> None:
    tier = Tier(Policy(targets=TRACKS.targets, down_seconds=10), count)
    for _ in range(200):
        tier.look(requests=EACH * needed)
    rests = tier.count
    assert needed / 1.1 - 1e-9 <= rests <= max(1, math.ceil(needed), needed / 0.9 + 1e-9)
    for _ in range(20):
        assert tier.look(requests=EACH * needed) == rests
    ups = [why for why in tier.whys if "elements" in why]
    assert len(ups) in (0, len(tier.whys)), "it went up and down"


@given(st.lists(st.floats(0, 60), min_size=80, max_size=250), st.integers(1, 60))
@settings(deadline=None, max_examples=40)
def test_down_only_when_every_look_of_long_enough_said_fewer(loads, count) -> None:
    tier = Tier(Policy(targets=TRACKS.targets, down_seconds=60), count)
    heard: list[float] = []
    for needed in loads:
        before, since = tier.count, tier.since_last()
        heard.append(needed)
        tier.look(requests=EACH * needed)
        if tier.count >= before:
            continue
        assert since + 5 >= 60
        assert before - tier.count <= max(1, before // 10)
        assert all(math.ceil(each) <= tier.count for each in heard[-13:])


def test_a_look_without_news_begins_the_wait_for_fewer_anew() -> None:
    tier = Tier(TRACKS, 4)
    for _ in range(60):
        assert tier.look(requests=60) == 4
    assert tier.look(requests=60, old=31) == 4
    for _ in range(60):
        assert tier.look(requests=60) == 4
    assert tier.look(requests=60) == 3


def test_after_going_up_the_new_ones_are_waited_for_but_not_for_ever() -> None:
    tier = Tier(TRACKS, 1)
    assert tier.look(requests=500) == 2
    looks = [tier.look(serving=1, requests=500) for _ in range(7)]
    assert looks == [2, 2, 2, 2, 2, 4, 4]
    assert tier.look(requests=500) == 8, "they serve, so there is nothing to wait for"


def test_a_step_adds_when_it_was_above_for_long_enough_and_begins_anew() -> None:
    slow = Step(metric=Metric.RESPONSE, above=200, seconds=30, add=2)
    tier = Tier(Policy(steps=(slow,)), 2)
    assert [tier.look(response=201) for _ in range(7)] == [2] * 6 + [4]
    assert [tier.look(response=201) for _ in range(7)] == [4] * 6 + [6]
    assert [tier.look(response=each) for each in [201] * 6 + [200] + [201] * 6] == [6] * 13
    assert tier.look(response=201) == 8
    assert tier.whys == ["response-ms above 200 for 30 s"] * 3


def test_the_largest_that_any_wants_wins_and_all_must_agree_on_fewer() -> None:
    both = Policy(
        targets=(
            Target(metric=Metric.REQUESTS, value=EACH),
            Target(metric=Metric.CPU, value=60),
        ),
        down_seconds=10,
    )
    tier = Tier(both, 4)
    assert tier.look(requests=EACH * 5, cpu=60 * 7) == 7
    for _ in range(10):
        assert tier.look(requests=EACH, cpu=60 * 7) == 7
        assert tier.look(requests=EACH) == 7, "of one of them there is no news"
    assert [tier.look(requests=EACH, cpu=60 * 5) for _ in range(9)] == [7, 7, 6, 6, 6, 5, 5, 5, 5]


def test_a_change_of_the_policy_begins_its_steps_anew() -> None:
    step = Step(metric=Metric.CPU, above=50, seconds=10)
    tier = Tier(Policy(steps=(step,)), 2)
    tier.look(cpu=200)
    tier.policy = Policy(steps=(step, step))
    assert [tier.look(cpu=200) for _ in range(3)] == [2, 2, 3]


@pytest.mark.parametrize("count", [0, 3, 9])
def test_bounds_hold_also_where_nothing_is_known(count) -> None:
    tier = Tier(TRACKS, count, Bounds(2, 5))
    assert tier.look(old=1000) == max(2, min(5, count))


OFFICE = Window(days=(0, 1, 2, 3, 4), begin=time(8), end=time(18), least=4, lead_seconds=0)
NIGHT = Window(days=(4, 5), begin=time(22), end=time(3), least=7, lead_seconds=0)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_a_year_of_windows_by_the_clock_on_the_wall(name) -> None:
    """Clocks change at night there, and the office window doesn't meet that; the other is looked at below."""
    zone, at = ZoneInfo(name), datetime(2026, 1, 1, tzinfo=UTC)
    while at.year == 2026:
        shown = at.astimezone(zone)
        day, hour = shown.weekday(), shown.hour
        office = 4 if day < 5 and 8 <= hour < 18 else 0
        night = 7 if (day in (4, 5) and hour >= 22) or (day in (5, 6) and hour < 3) else 0
        assert least_now((OFFICE, NIGHT), zone, at) == max(office, night), shown
        at += timedelta(minutes=30)


def opened(window: Window, zone: ZoneInfo, first: datetime, hours: int) -> list[str]:
    """The times, in UTC, at which it was open, by quarters of an hour."""
    looks = (first + timedelta(minutes=15 * n) for n in range(hours * 4))
    return [f"{at:%H:%M}" for at in looks if least_now([window], zone, at)]


def test_a_clock_put_back_makes_a_window_longer() -> None:
    """On 25 October 2026 it is half past two twice in Berlin: at 00:30 and at 01:30 in UTC."""
    window = Window(days=(6,), begin=time(2, 30), end=time(2, 45), least=1, lead_seconds=0)
    times = opened(window, BERLIN, datetime(2026, 10, 24, 22, tzinfo=UTC), 8)
    assert (times[0], times[-1]) == ("00:30", "01:30")


def test_a_clock_put_forward_takes_no_window_away() -> None:
    """On 29 March 2026 it is never half past two in Berlin: from 01:00 in UTC on it is three."""
    window = Window(days=(6,), begin=time(2, 30), end=time(2, 45), least=1, lead_seconds=0)
    times = opened(window, BERLIN, datetime(2026, 3, 28, 22, tzinfo=UTC), 8)
    assert times
    assert times[0] <= "01:00" <= times[-1]


def test_a_window_begins_early_so_that_all_serve_in_time() -> None:
    early = Window(days=(0,), begin=time(0, 1), end=time(1), least=3, lead_seconds=600)
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    assert opened(early, ZoneInfo("UTC"), monday - timedelta(hours=2), 5) == [
        "00:00",
        "00:15",
        "00:30",
        "00:45",
    ]
    assert least_now([early], UTC, monday - timedelta(minutes=9)) == 3
    assert least_now([early], UTC, monday - timedelta(minutes=9, seconds=1)) == 0


def test_the_largest_of_open_windows_counts_and_one_of_a_whole_day_is_always_open() -> None:
    always = Window(days=tuple(range(7)), begin=time(6), end=time(6), least=2, lead_seconds=0)
    for hour in range(24 * 7):
        at = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(hours=hour)
        busy = at.weekday() < 5 and 8 <= at.hour < 18
        assert least_now([always, OFFICE], UTC, at) == (4 if busy else 2)
