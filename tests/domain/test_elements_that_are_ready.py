"""Tiers that keep elements ready: who serves, who is ready, and what comes of it when more or fewer should serve."""

from dataclasses import replace

from test_tier_acts import NEW, PACE, RUNS, WELL, E, M, S, acts, element, seen

from arable.domain.tier import Body
from arable.domain.tier_acts import Drain, Hold, Make, Note, Promote, Rolling, TakeBack

ONE_READY = Body(networks=(), standby=1)
HELD = replace(WELL, wanted=0, weight=0)
STANDS_BY = seen(element(3, S.STANDBY), RUNS, HELD)


def test_those_that_are_kept_ready_are_made_with_the_others_and_get_nobody() -> None:
    assert acts([], body=ONE_READY) == [Make((1, 2, 3), NEW, frozenset({3}))]
    proving = seen(element(3, S.PROVING), RUNS, HELD)
    serving = [seen(element(1)), seen(element(2))]
    assert acts([*serving, proving], body=ONE_READY) == [Note("element-3", E.SEE_READY)]
    assert acts([*serving, STANDS_BY], body=ONE_READY) == []


def test_one_that_is_ready_serves_when_there_should_be_more_and_another_one_is_made() -> None:
    serving = [seen(element(1)), seen(element(2))]
    more = {"count": 3, "body": ONE_READY}
    assert acts([*serving, STANDS_BY], **more) == [
        Promote("element-3"),
        Make((4,), NEW, frozenset({4})),
    ]
    # Its router has heard of it only when that says so.
    unheard = seen(element(3, S.PROVING), RUNS, replace(HELD, wanted=1))
    making = seen(element(4, S.MAKING), replace(RUNS, state=M.WAITING), HELD)
    assert acts([*serving, unheard, making], **more) == []
    heard = seen(element(3, S.PROVING))
    assert acts([*serving, heard, making], **more) == [Note("element-3", E.SEE_WELL)]


def test_with_those_that_are_ready_there_are_never_more_than_the_most() -> None:
    serving = [seen(element(1)), seen(element(2))]
    assert acts(serving, most=2, body=ONE_READY) == []
    assert acts([*serving, STANDS_BY], most=2, body=ONE_READY) == [Drain("element-3")]


def test_one_that_is_ready_stands_in_for_one_that_is_ill() -> None:
    ill = seen(element(1, S.PROVING), RUNS, replace(WELL, well=False))
    known = [ill, seen(element(2)), STANDS_BY]
    assert acts(known, body=ONE_READY) == [Hold("element-1"), Promote("element-3")]
    promoted = [ill, seen(element(2)), seen(element(3, S.PROVING))]
    assert Note("element-3", E.SEE_WELL) in acts(promoted, body=ONE_READY)
    healed = seen(element(1, S.PROVING), RUNS, HELD)
    assert acts([healed, seen(element(2)), seen(element(3))], body=ONE_READY) == [
        Note("element-1", E.SEE_READY)
    ]


def test_of_fewer_one_that_served_goes_and_the_one_that_is_ready_stays() -> None:
    serving = [seen(element(1)), seen(element(2)), STANDS_BY, seen(element(4))]
    assert acts(serving, body=ONE_READY) == [Drain("element-4")]


def test_where_the_most_left_no_room_before_one_that_served_is_ready_then() -> None:
    serving = [seen(element(1)), seen(element(2)), seen(element(3))]
    fewer = {"count": 2, "most": 3, "body": ONE_READY}
    assert acts(serving, **fewer) == [Drain("element-3")]
    busy = seen(element(3, S.DRAINING), RUNS, replace(HELD, sessions=1))
    assert acts([*serving[:2], busy], at=PACE.drain + 1, **fewer) == [], "nobody is cut off"
    idle = seen(element(3, S.DRAINING), RUNS, HELD)
    assert acts([*serving[:2], idle], **fewer) == [Note("element-3", E.REST)]
    assert acts([*serving[:2], busy], **fewer | {"count": 3}) == [TakeBack("element-3")]


def test_during_a_rollout_none_is_kept_ready() -> None:
    serving = [seen(element(1)), seen(element(2))]
    assert acts([*serving, STANDS_BY], rollout=Rolling(), body=ONE_READY) == [Drain("element-3")]
