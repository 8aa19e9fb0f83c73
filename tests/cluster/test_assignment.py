"""Farms are spread evenly, few of them move, and balancing comes to rest."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from arable.cluster.assignment import (
    BAND,
    HIGH,
    MOST_MOVES,
    balanced,
    placed,
    wanted,
    weight,
    weights,
)
from arable.domain.ids import FarmId, SegmentId
from arable.domain.segment import Holding

MEMBERS = [SegmentId(f"server-{letter}") for letter in "abcde"]
members = st.integers(1, 5).map(lambda count: MEMBERS[:count])
sizes = st.lists(st.integers(0, 40), max_size=60)


def farms(sizes, holder=lambda _number: SegmentId("")) -> list[Holding]:
    return [
        Holding(FarmId(f"farm-{number:03}"), holder(number), size)
        for number, size in enumerate(sizes)
    ]


def after(held, moves) -> list[Holding]:
    to = {move.farm: move.to for move in moves}
    return [replace(each, holder=to.get(each.farm, each.holder)) for each in held]


@given(sizes, members)
@settings(deadline=None)
def test_every_farm_is_placed_once_and_no_member_is_ahead_by_more_than_the_heaviest(sizes, members):
    held = farms(sizes)
    moves = placed(held, weights([], members))
    assert sorted(move.farm for move in moves) == [each.farm for each in held]
    loads = weights(after(held, moves), members)
    heaviest = max((weight(each) for each in held), default=0)
    assert max(loads.values()) - min(loads.values()) <= heaviest


@given(sizes, members, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_in_which_farms_are_read_changes_nothing(sizes, members, chance):
    held = farms(sizes)
    mixed = chance.sample(held, len(held))
    assert placed(held, weights([], members)) == placed(mixed, weights([], members[::-1]))


def test_without_members_nothing_is_placed():
    assert placed(farms([1, 2]), {}) == []
    assert balanced(farms([1, 2]), []) == []


@given(sizes, members, st.data())
@settings(deadline=None)
def test_balancing_never_makes_it_worse_and_comes_to_rest(sizes, members, data):
    held = farms(sizes, lambda _number: data.draw(st.sampled_from(members)))
    for _ in range(30):
        moves = balanced(held, members)
        assert len(moves) <= MOST_MOVES
        assert len({move.farm for move in moves}) == len(moves)
        before = weights(held, members)
        held = after(held, moves)
        loads = weights(held, members)
        assert sum(loads.values()) == sum(before.values())
        assert sum(each**2 for each in loads.values()) <= sum(each**2 for each in before.values())
        if not moves:
            break
    assert not moves


@given(st.lists(st.just(0), min_size=10, max_size=60), members, st.data())
@settings(deadline=None)
def test_idle_farms_end_within_the_band(sizes, members, data):
    held = farms(sizes, lambda _number: data.draw(st.sampled_from(members)))
    for _ in range(5):
        held = after(held, balanced(held, members))
    loads = weights(held, members).values()
    assert max(loads) - min(loads) <= max(1.0, BAND * sum(loads) / len(loads))


@given(sizes, members, st.data())
@settings(deadline=None)
def test_what_is_within_the_band_stays_where_it_is(sizes, members, data):
    held = farms(sizes, lambda _number: data.draw(st.sampled_from(members)))
    loads = weights(held, members).values()
    if max(loads) - min(loads) <= BAND * sum(loads) / len(loads):
        assert balanced(held, members) == []


def test_a_farm_on_its_way_is_not_sent_elsewhere():
    held = [replace(each, confirmed=False) for each in farms([5] * 20, lambda _number: MEMBERS[0])]
    assert balanced(held, MEMBERS[:2]) == []


@given(st.lists(st.integers(0, 100), max_size=8), st.integers(1, 4), st.integers(0, 6))
@settings(deadline=None)
def test_the_number_of_members_stays_within_its_bounds_and_changes_by_one(percents, least, more):
    most = least + more
    asked = wanted(percents, least, most)
    assert least <= asked <= most
    if least <= len(percents) <= most:
        assert abs(asked - len(percents)) <= 1


@given(st.lists(st.integers(0, 100), min_size=2, max_size=8))
@settings(deadline=None)
def test_a_member_that_is_retired_is_not_missed_at_once(percents):
    count = len(percents)
    if wanted(percents, 1, 8) == count - 1:
        assert sum(percents) / (count - 1) < HIGH
