"""Agents over servers: each decides by what all have, and together they come to rest, evenly, few at a time."""

from hypothesis import given
from hypothesis import strategies as st

from arable.services.spread import BAND, LEAST, moves, seconds_to_return

counts = st.lists(st.integers(min_value=0, max_value=3000), min_size=2, max_size=6)


def share_of(having: list[int]) -> int:
    return -(-sum(having) // len(having))


def a_round(having: list[int], leaving: int | None = None) -> list[int]:
    """All of them decide on the same figures, not knowing of each other, and all who are asked go."""
    after = list(having)
    for me, mine in enumerate(having):
        others = {str(at): n for at, n in enumerate(having) if at not in (me, leaving)}
        for to, number in moves(mine, others, leaving=me == leaving).items():
            after[me] -= number
            after[int(to)] += number
    return after


@given(counts)
def test_nobody_is_sent_who_is_not_there_nor_from_who_has_no_more_than_its_share(
    having: list[int],
) -> None:
    share = share_of(having)
    for me, mine in enumerate(having):
        others = {str(at): n for at, n in enumerate(having) if at != me}
        asked = moves(mine, others)
        assert sum(asked.values()) <= max(mine - share, 0)
        assert sum(asked.values()) <= max(LEAST, mine // 50)
        assert all(number > 0 for number in asked.values())


@given(counts)
def test_all_together_come_to_rest_and_everybody_has_about_a_share(having: list[int]) -> None:
    for _ in range(2000):
        after = a_round(having)
        assert sum(after) == sum(having)
        if after == having:
            break
        having = after
    share = share_of(having)
    assert after == having
    assert max(having) <= share + max(LEAST, BAND * share)


@given(counts)
def test_a_server_that_leaves_has_nobody_in_the_end(having: list[int]) -> None:
    for _ in range(500):
        if not having[0]:
            break
        before, having = having[0], a_round(having, leaving=0)
        assert before - having[0] <= max(LEAST, before // 10)
    assert having[0] == 0


def test_a_server_without_others_keeps_what_it_has_even_when_it_leaves() -> None:
    assert moves(100, {}) == {}
    assert moves(100, {}, leaving=True) == {}


def test_those_that_have_least_get_most() -> None:
    asked = moves(1000, {"a": 0, "b": 500, "c": 5})
    assert asked == {"a": 13, "c": 7}


def test_agents_have_as_long_to_come_back_as_the_servers_need_for_them() -> None:
    assert seconds_to_return(10_000, 2, 300.0) == 25.0
    assert seconds_to_return(10, 0, 300.0) < 1
