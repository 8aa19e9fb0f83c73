"""When a host is down, and when it is only not heard: the judgement alone, on values."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.domain.host import HOST, HostState
from arable.domain.host_health import TOGETHER, WITNESSES, HostSeen, Limits, circle, judge
from arable.domain.ids import HostId, PodId, ZoneId

S = timedelta(seconds=1)
LIMITS = Limits(missing=15 * S, silent=30 * S, down=20 * S)
UP, SILENT, DOWN = HostState.UP, HostState.SILENT, HostState.DOWN


def host(name: str = "x", **but) -> HostSeen:
    usual = {"pod": "a", "zone": "z", "state": UP, "witnesses": 3}
    made = {"id": HostId(f"host-{name}"), **usual, **but}
    return HostSeen(**made | {"pod": PodId(made["pod"]), "zone": ZoneId(made["zone"])})


def lost(name: str = "x", **but) -> HostSeen:
    """Nobody sees it."""
    return host(name, **{"unheard": 25 * S, "lost": 3} | but)


NEIGHBOURS = [host(name) for name in "abcd"]


def verdict(one: HostSeen, *others: HostSeen):
    return judge([*(others or NEIGHBOURS), one], LIMITS)[one.id]


def test_a_host_that_nobody_sees_is_down():
    found = verdict(lost())
    assert found.state is DOWN
    assert "none of 3 peers reaches it" in found.told


@pytest.mark.parametrize(
    ("but", "why"),
    [
        ({"lost": 2}, "1 of 3 peers do not miss it"),
        ({"storage": 1}, "its storage hears it"),
        ({"witnesses": 0, "lost": 0}, "no other host that could tell"),
        ({"maintenance": True}, "it is in maintenance"),
        ({"excused": True}, "it was powered on"),
    ],
)
def test_a_host_that_somebody_sees_or_nobody_could_is_silent_in_the_end(but, why):
    assert verdict(lost(**but)).state is UP
    found = verdict(lost(**but, unheard=31 * S))
    assert (found.state, found.held) == (SILENT, False)
    assert why in found.told


def test_nothing_is_said_of_a_host_that_is_heard_whatever_its_peers_say():
    assert verdict(lost(unheard=19 * S)).state is UP
    assert verdict(lost(unheard=timedelta(0))).state is UP


def test_a_silent_host_is_up_only_when_it_is_heard():
    assert verdict(host(state=SILENT, unheard=timedelta(0))).state is SILENT


def test_a_host_that_was_powered_off_is_down_as_soon_as_it_is_missed():
    assert verdict(host(powered_off=True, unheard=16 * S)).state is DOWN


def test_most_hosts_of_a_pod_that_are_lost_at_once_are_held_back():
    dead = [lost(name) for name in "xyz"]
    found = judge([host("a"), host("b"), *dead], LIMITS)
    for each in dead:
        assert (found[each.id].state, found[each.id].held) == (SILENT, True)
        assert "3 of 5 hosts of its pod" in found[each.id].told


def test_most_pods_of_a_zone_that_are_lost_at_once_are_held_back():
    far = [lost(f"{pod}{n}", pod=pod) for pod in "bc" for n in range(2)]
    near = [host(f"a{n}") for n in range(3)]
    calm = [host(f"{pod}{n}c", pod=pod) for pod in "bc" for n in range(2)]
    assert all(v.state is not DOWN for v in judge([*far, *near], LIMITS).values())
    found = judge([*far, *near, *calm], LIMITS)
    assert [found[each.id].state for each in far] == [DOWN] * 4


def test_hosts_of_pods_without_trouble_count_for_the_zone_though_nobody_looks_at_them():
    dead = [lost(f"b{n}", pod="b") for n in range(3)]
    near = [host(f"b{n}c", pod="b") for n in range(3)]
    strays = [host(f"a{n}", pod="a", unheard=16 * S) for n in range(4)]
    assert all(judge([*dead, *near, *strays], LIMITS)[each.id].held for each in dead)
    found = judge([*dead, *near, *strays], LIMITS, {ZoneId("z"): 10})
    assert [found[each.id].state for each in dead] == [DOWN] * 3


def test_hosts_that_were_lost_long_before_do_not_shield_one_that_is_lost_now():
    before = [host(n, state=SILENT, unheard=TOGETHER + 60 * S) for n in "cdefg"]
    assert verdict(lost(), host("a"), host("b"), *before).state is DOWN


def test_a_host_that_is_missed_a_little_later_counts_as_lost_with_it():
    others = [host("a"), host("b"), *(host(n, unheard=16 * S) for n in "cd")]
    assert verdict(lost(), *others).held


def test_the_last_host_of_a_zone_is_never_condemned():
    assert verdict(lost(), host("a", state=DOWN, unheard=60 * S)).held


def test_hosts_that_are_down_or_were_never_heard_are_not_judged():
    found = judge([lost("x", state=DOWN), lost("y", state=HostState.JOINED)], LIMITS)
    assert found == {}


spans = st.integers(0, 100).map(lambda n: n * S)


@st.composite
def seen(draw, name):
    witnesses = draw(st.integers(0, 3))
    return host(
        str(name),
        pod=draw(st.sampled_from("ab")),
        zone=draw(st.sampled_from("yz")),
        state=draw(st.sampled_from([UP, UP, SILENT, DOWN])),
        maintenance=draw(st.integers(0, 5)) == 0,
        unheard=draw(spans),
        witnesses=witnesses,
        lost=draw(st.integers(0, witnesses)),
        storage=draw(st.integers(0, 3)) == 0,
    )


@st.composite
def worlds(draw):
    return [draw(seen(n)) for n in range(draw(st.integers(1, 8)))]


@given(worlds(), st.randoms())
def test_who_is_condemned_was_seen_by_nobody_and_not_lost_with_most_others(world, chance):
    found = judge(world, LIMITS)
    shuffled = list(world)
    chance.shuffle(shuffled)
    assert judge(shuffled, LIMITS) == found
    for each in world:
        if each.state is DOWN:
            assert each.id not in found
            continue
        if found[each.id].state is DOWN:
            assert each.unheard >= LIMITS.down
            assert each.witnesses == each.lost > 0
            assert not each.storage
            assert not each.maintenance
            for place in ("pod", "zone"):
                near = [
                    one for one in world
                    if getattr(one, place) == getattr(each, place)
                    and one.state is not DOWN and not one.maintenance
                ]  # fmt: skip
                missed = [
                    one for one in near
                    if one.unheard > LIMITS.missing and abs(one.unheard - each.unheard) <= TOGETHER
                ]  # fmt: skip
                assert 2 * len(missed) <= len(near)
        if found[each.id].state is UP:
            assert each.state is UP
            assert each.unheard < LIMITS.silent


@given(worlds())
def test_being_heard_by_one_more_saves_and_never_condemns(world):
    found = judge(world, LIMITS)
    for at, each in enumerate(world):
        if each.state is DOWN:
            continue
        better = [*world]
        better[at] = replace(each, storage=1)
        assert judge(better, LIMITS)[each.id].state is not DOWN
        assert found[each.id].state in (UP, SILENT, DOWN)


@given(st.integers(0, 40))
def test_each_host_asks_as_many_as_ask_for_it_and_never_itself(count):
    pairs = circle([(f"{n * 7919 % 101:03}", n) for n in range(count)])
    asks, asked = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    most = min(WITNESSES, max(0, count - 1))
    assert set(asks.values()) | set(asked.values()) <= {most} - {0}
    assert len(set(pairs)) == len(pairs)
    assert all(a != b for a, b in pairs)


@given(st.integers(5, 40), st.integers(0, 39))
def test_only_its_neighbours_ask_others_when_a_host_goes(count, gone):
    hosts = [(f"{n:03}", n) for n in range(count)]
    before = set(circle(hosts))
    after = set(circle([each for each in hosts if each[1] != gone % count]))
    assert len(after - before) <= WITNESSES


def test_the_states_of_a_host_are_drawn_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs/architecture.md").read_text()
    assert f"```mermaid\n{HOST.mermaid()}```" in page
