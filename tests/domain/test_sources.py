"""Of the regions that hold an image the nearest is asked first; of those that are equally near, the one with less to do."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from arable.domain.sources import Seen, ranked, told


def order(*seen: Seen, turn: int = 0) -> list[str]:
    return [each.region for each in ranked(seen, turn)]


def test_the_nearest_goes_first_however_busy_it_is():
    assert order(Seen("a", 0.150, 0.0), Seen("b", 0.012, 0.9), Seen("c", 0.080, 0.1)) == [
        *("b", "c", "a"),
    ]


def test_among_those_that_are_alike_near_load_decides_and_then_the_name():
    near = (Seen("a", 0.010, 0.5), Seen("b", 0.011, 0.2), Seen("c", 0.0145, 0.2))
    assert order(*near, Seen("d", 0.016, 0.0)) == ["b", "c", "a", "d"]
    assert order(Seen("b", 0.0002, 0.1), Seen("a", 0.0029, 0.1)) == ["a", "b"], "that is jitter"


def test_who_does_not_answer_is_asked_last():
    assert order(Seen("a"), Seen("c", 0.2, 1.0), Seen("b")) == ["c", "a", "b"]
    assert order(Seen("b"), Seen("a")) == ["a", "b"]


def test_after_an_attempt_that_came_to_nothing_another_one_is_first():
    three = (Seen("a", 0.01), Seen("b", 0.02), Seen("c", 0.04), Seen("d"))
    assert [order(*three, turn=turn) for turn in (1, 2, 3)] == [
        ["b", "c", "a", "d"],
        ["c", "a", "b", "d"],
        ["a", "b", "c", "d"],
    ]


def test_it_is_said_why():
    chosen = ranked([Seen("tokyo", 0.1504, 0.05), Seen("london", 0.0031, 0.625), Seen("oslo")])
    assert told("web/3", chosen, 7) == (
        "image web/3: of 7 regions that have it, asks london (3.1 ms away, load 62%)"
        " and tokyo (150 ms away, load 5%) and oslo (does not answer)"
    )


SEEN = st.builds(
    Seen,
    st.text("abcdefgh", min_size=1, max_size=3),
    st.none() | st.floats(0, 1),
    st.floats(0, 1),
)


@given(st.lists(SEEN, unique_by=lambda seen: seen.region), st.integers(0, 5), st.randoms())
def test_nobody_is_lost_and_the_order_they_come_in_is_nothing(seen, turn, dice):
    found = ranked(seen, turn)
    assert sorted(each.region for each in found) == sorted(each.region for each in seen)
    shuffled = list(seen)
    dice.shuffle(shuffled)
    assert ranked(shuffled, turn) == found
    answered = [each.away for each in ranked(seen) if each.away is not None]
    assert all(
        one <= max(1.5 * other, other + 0.003) for one, other in itertools.pairwise(answered)
    )
