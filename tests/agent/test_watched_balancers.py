"""News of balancers that somebody waits for: told within a second, and none of it while they are calm."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import make_agent as make
from agent.make_agent import Rig
from arable.domain.balancer import (
    BalancerSeen,
    BalancerWish,
    Band,
    Calm,
    MemberSeen,
    MemberWish,
    Traffic,
    stirs,
)
from arable.domain.ids import BalancerId

ONE, OTHER = BalancerId("balancer-0"), BalancerId("balancer-1")
NIC = make.nic("a")
CALM = Calm(request_rate=Band(least=10, most=50), sessions=Band(most=100))


def balancer(id_: BalancerId, calm: Calm | None, **but) -> BalancerWish:
    members = (MemberWish(nic=NIC, to="10.1.1.10", port=80, **but),)
    return BalancerWish(id=id_, port=8080, traffic=Traffic.TCP, members=members, calm=calm)


class Watched(Rig):
    """A router with a balancer that is watched, and another's with one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[BalancerId] = []
        self.figures(request_rate=20)
        self.wish_for(CALM)
        self.seconds(12)
        self.told.clear()

    def wish_for(self, calm: Calm | None, **but) -> None:
        watched = make.appliance("a", inners=(balancer(ONE, calm, **but),))
        self.wish(watched, make.appliance("b", vlan=101, inners=(balancer(OTHER, None),)))

    def figures(self, **but: int) -> None:
        for id_ in (ONE, OTHER):
            self.hardware.figures[id_] = BalancerSeen(id=id_, **but)

    def seconds(self, count: int) -> None:
        """What an agent's process does in so many seconds."""
        for _ in range(count * 4):
            self.clock.wait(make.timedelta(seconds=0.25))
            now = self.clock.monotonic()
            report = None
            if now >= self.agent.due():
                report = self.step()
            elif now >= self.agent.glance_due():
                report = self.agent.glance()
                self.server.hears(report)
            self.told += [each.id for each in report.balancers] if report else []


@pytest.fixture
def rig() -> Watched:
    return Watched()


def test_a_calm_balancer_is_not_spoken_of_between_heartbeats(rig) -> None:
    for rate in (10, 50, 30):
        rig.figures(request_rate=rate, sessions=rate)
        rig.seconds(2)
    assert rig.told == []
    rig.seconds(10)
    assert sorted(rig.told) == [ONE, OTHER]
    rig.seconds(10)
    assert sorted(rig.told) == [ONE, ONE, OTHER], "who acts by its figures hears that they hold"


def test_a_figure_that_leaves_its_band_is_told_within_a_second_and_as_it_moves_on(rig) -> None:
    rig.figures(request_rate=51)
    rig.seconds(2)
    assert rig.told == [ONE]
    rig.seconds(2)
    assert rig.told == [ONE], "it is as it was told"
    rig.figures(request_rate=90)
    rig.seconds(2)
    assert rig.told == [ONE, ONE]


def test_a_members_health_and_weight_are_told_at_once_and_when_it_is_drained(rig) -> None:
    rig.hardware.answers = lambda _nic: False
    rig.seconds(2)
    assert rig.told == [ONE]
    rig.hardware.answers = lambda _nic: True
    rig.hardware.sessions = {NIC: 2}
    rig.seconds(2)
    assert rig.told == [ONE] * 2
    rig.wish_for(CALM, weight=0)
    rig.step()
    rig.seconds(2)
    assert rig.told == [ONE] * 3
    rig.hardware.sessions = {NIC: 1}
    rig.seconds(1)
    assert rig.told == [ONE] * 3
    rig.hardware.sessions = {}
    rig.seconds(1)
    assert rig.told == [ONE] * 4


def test_only_routers_with_a_watched_balancer_are_asked_and_none_when_there_is_none(rig) -> None:
    asked = []
    balancers = rig.drivers.appliances.balancers
    rig.drivers.appliances.balancers = lambda of=None: (asked.append(of), balancers(of))[1]
    rig.seconds(5)
    assert asked.count(frozenset({make.network("a")})) == 5
    rig.wish_for(None)
    rig.step()
    assert rig.agent.glance_due() == inf
    asked.clear()
    rig.seconds(11)
    assert asked == [None, None][: len(asked)]


def test_nothing_is_told_of_it_before_all_was_told_on_a_new_connection(rig) -> None:
    rig.connect()
    rig.figures(request_rate=99)
    assert rig.agent.glance() is None
    assert rig.step().full
    assert [each.id for each in rig.agent.glance().balancers] == [ONE]


members = st.builds(
    MemberSeen,
    nic=st.just(NIC),
    up=st.booleans(),
    weight=st.integers(-1, 2),
    well=st.sampled_from([None, True, False]),
    sessions=st.integers(0, 2),
    all_sessions=st.integers(0, 9),
)
looks = st.builds(
    BalancerSeen,
    id=st.just(ONE),
    sessions=st.integers(95, 105),
    request_rate=st.integers(5, 55),
    members=st.tuples(members),
)


@given(looks, looks)
def test_what_is_within_its_bands_with_the_same_members_does_not_stir(before, now) -> None:
    same = replace(now, members=before.members)
    calm = now.request_rate in Band(least=10, most=50) and now.sessions <= 100
    assert not stirs(CALM, now, now)
    assert stirs(CALM, None, now)
    if calm:
        assert not stirs(CALM, before, same)
        assert not stirs(Calm(), before, same)
