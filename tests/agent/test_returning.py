"""Where an agent goes next, and when."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.agent.returning import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    MOST_ASKED_SECONDS,
    UNREACHABLE_SECONDS,
    Pauses,
    Returning,
)
from arable.runtime.entropy import Entropy

THREE = ["a:1", "b:1", "c:1"]


def agent(seed: object, servers: list[str] = THREE) -> Returning:
    return Returning(servers, Entropy(f"returning-{seed}"))


def test_each_begins_at_a_server_of_its_own_and_tries_all_in_turn() -> None:
    first = Counter(agent(seed).server() for seed in range(3000))
    assert first.keys() == set(THREE)
    assert min(first.values()) > 900
    one = agent("one")
    assert {one.server() for _ in THREE} == set(THREE)


def test_those_that_lose_a_server_go_to_all_the_others() -> None:
    went: Counter[str] = Counter()
    for seed in range(3000):
        one = agent(seed)
        while one.server() != "b:1":
            pass
        one.welcomed()
        went[one.server()] += 1
    assert went.keys() == {"a:1", "c:1"}
    assert min(went.values()) > 1300


def test_others_that_it_was_told_of_are_tried_after_its_own_and_never_instead() -> None:
    one = agent("x", ["own:1"])
    one.welcomed(["other:1", "own:1"])
    assert [one.server() for _ in range(4)] == ["own:1", "other:1", "own:1", "other:1"]
    one.welcomed()
    assert {one.server() for _ in range(4)} == {"own:1"}


@given(st.integers(), st.integers(min_value=1, max_value=30))
def test_pauses_are_thrown_between_nothing_and_a_longest_that_doubles(
    seed: int, tries: int
) -> None:
    one = agent(seed)
    for number in range(tries):
        assert 0 <= one.pause() <= min(FIRST_SECONDS * 2**number, LONGEST_SECONDS)
    one.welcomed()
    assert one.pause() <= FIRST_SECONDS


def test_the_wider_a_server_asks_them_to_spread_the_wider_they_do() -> None:
    waits = []
    for seed in range(1000):
        one = agent(seed)
        one.welcomed(spread=20.0)
        waits.append(one.pause())
    assert max(waits) <= 20.0
    for second in range(20):  # a twentieth of them in each second
        assert 20 < sum(second <= wait < second + 1 for wait in waits) < 90


@given(st.integers(), st.floats(min_value=0.1, max_value=1e9))
def test_who_is_told_when_to_come_back_does_not_come_before_nor_much_later(
    seed: int, seconds: float
) -> None:
    one = agent(seed)
    one.asked(seconds)
    one.asked(0.0)  # an error that says nothing about it takes nothing back
    told = min(seconds, MOST_ASKED_SECONDS)
    assert told <= one.pause() <= 2 * told
    assert one.pause() <= FIRST_SECONDS, "once"


def test_who_is_unwanted_comes_seldom() -> None:
    one = Returning(THREE, Entropy("unwanted"), Pauses(0.001, 1000.0))
    one.unwanted()
    assert one.pause() > 1.0


def test_a_server_that_could_not_be_reached_is_not_gone_to_for_a_while() -> None:
    one = agent("z")
    assert one.reachable("b:1", 100.0)
    one.unreachable("b:1", 100.0)
    assert not one.reachable("b:1", 100.0 + UNREACHABLE_SECONDS - 1)
    assert one.reachable("a:1", 100.0)
    assert one.reachable("b:1", 100.0 + UNREACHABLE_SECONDS)


def test_an_agent_without_servers_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="empty"):
        agent("none", [])
