"""Letting agents in: a few at once, then at a pace; and ten thousand of them that come back, on virtual time."""

import heapq
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.agent.returning import Returning
from arable.api.gateway.pace import AT_ONCE, LATEST, LONGEST, RATE, SOONEST, Pace
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy
from arable.services.spread import seconds_to_return

OPEN_WITHIN = 30.0  # an agent's patience with a connection


def waited(clock: VirtualClock, seconds: float) -> None:
    clock.wait(timedelta(seconds=seconds))


def test_a_few_need_not_wait_and_then_there_are_so_many_a_second() -> None:
    clock = VirtualClock()
    waited(clock, 100)
    pace = Pace(clock.monotonic)
    assert [pace.turn() for _ in range(AT_ONCE)] == [0.0] * AT_ONCE
    turns = [pace.turn() for _ in range(300)]
    assert turns[0] == pytest.approx(1 / RATE)
    assert turns[-1] == pytest.approx(300 / RATE)
    waited(clock, 2.0)
    assert pace.turn() == 0.0


def test_nobody_waits_for_longer_than_an_agent_would() -> None:
    clock = VirtualClock()
    pace = Pace(clock.monotonic)
    turns = [pace.turn() for _ in range(10_000)]
    able = [turn for turn in turns if turn is not None]
    assert max(able) <= LONGEST + 1 / RATE
    assert turns[-1] is None
    assert pace.refused == 10_000 - len(able)
    assert len(able) <= RATE * LONGEST + AT_ONCE + 1


def test_other_servers_never_wait() -> None:
    clock = VirtualClock()
    pace = Pace(clock.monotonic, first=frozenset({"10.0.0.2"}))
    while pace.turn("10.0.0.9") is not None:
        pass
    assert pace.turn("10.0.0.2") == 0.0


@given(st.lists(st.floats(min_value=0, max_value=20), min_size=1, max_size=200))
def test_in_any_second_no_more_get_in_than_the_pace_says(gaps: list[float]) -> None:
    clock = VirtualClock()
    pace = Pace(clock.monotonic, rate=5.0)
    begun = []
    for gap in gaps:
        waited(clock, gap / 100)
        turn = pace.turn()
        if turn is not None:
            begun.append(clock.monotonic() + turn)
    for at in begun:
        assert sum(at <= other < at + 1.0 for other in begun) <= AT_ONCE + 5 + 1


def test_the_more_are_sent_away_the_later_they_are_to_come_back() -> None:
    clock = VirtualClock()
    pace = Pace(clock.monotonic)
    told = [pace.come_back() for _ in range(100_000)]
    assert told[0] == SOONEST
    assert told[6000] == pytest.approx(SOONEST + 6000 / RATE, abs=1)
    assert told == sorted(told)
    assert max(told) == LATEST
    waited(clock, 3600)
    assert pace.come_back() == SOONEST


class Crowd:
    """Agents and servers, in one queue of what happens next."""

    def __init__(self, agents: int, servers: int, seed: str) -> None:
        self.clock = VirtualClock()
        self.servers = [f"server-{at}" for at in range(servers)]
        self.paces = {name: Pace(self.clock.monotonic) for name in self.servers}
        chance = Entropy(seed)
        self.agents = [Returning(self.servers, chance.child(f"agent-{at}")) for at in range(agents)]
        self.where: dict[int, str] = {}
        self.most_waiting: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._next: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._next, (self.clock.monotonic() + seconds, next(self._order), what))

    def run(self) -> float:
        """Until nothing happens any more; how long it took."""
        began = self.clock.monotonic()
        while self._next:
            when, _, what = heapq.heappop(self._next)
            waited(self.clock, when - self.clock.monotonic())
            what()
        return self.clock.monotonic() - began

    def comes_back(self, agent: int) -> None:
        self.at(self.agents[agent].pause(), lambda: self._tries(agent))

    def _tries(self, agent: int) -> None:
        server = self.agents[agent].server()
        pace = self.paces.get(server)
        turn = pace.turn() if pace else None
        if turn is None:
            self.comes_back(agent)
            return
        assert turn < OPEN_WITHIN
        self._waiting[server] += 1
        self.most_waiting[server] = max(self.most_waiting[server], self._waiting[server])
        self.at(turn, lambda: self._is_in(agent, server))

    def _is_in(self, agent: int, server: str) -> None:
        self._waiting[server] -= 1
        self.where[agent] = server
        left = max(len(self.paces) - 1, 1)
        spread = seconds_to_return(len(self.agents), left, RATE)
        self.agents[agent].welcomed(self.servers, spread)

    def restart(self) -> None:
        """All servers hang up at once, and are there again."""
        self.where.clear()
        for agent in range(len(self.agents)):
            self.comes_back(agent)

    def dies(self, server: str) -> None:
        del self.paces[server]
        for agent, where in list(self.where.items()):
            if where == server:
                del self.where[agent]
                self.comes_back(agent)


@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_ten_thousand_agents_are_back_in_little_more_than_the_pace_needs(seed: str) -> None:
    crowd = Crowd(10_000, 3, seed)
    crowd.restart()  # the first time, nobody has told them how many there are
    first = crowd.run()
    assert len(crowd.where) == 10_000
    assert first < 90
    spread = Counter(crowd.where.values())
    assert max(spread.values()) < 1.2 * min(spread.values())
    crowd.restart()
    assert crowd.run() < 45  # 11 s at the pace of three
    assert max(crowd.most_waiting.values()) <= RATE * LONGEST + AT_ONCE + 1


def test_the_agents_of_a_server_that_died_are_with_the_others_in_half_a_minute() -> None:
    crowd = Crowd(10_000, 3, "dead")
    crowd.restart()
    crowd.run()
    refused = sum(pace.refused for pace in crowd.paces.values())
    crowd.dies("server-1")
    assert crowd.run() < 90
    assert len(crowd.where) == 10_000
    spread = Counter(crowd.where.values())
    assert spread.keys() == {"server-0", "server-2"}
    assert max(spread.values()) < 1.2 * min(spread.values())
    assert sum(pace.refused for pace in crowd.paces.values()) == refused, "none too many"
