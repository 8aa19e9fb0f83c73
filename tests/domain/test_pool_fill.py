"""How full a pool is taken to be: never less by more that is in use."""

from hypothesis import given
from hypothesis import strategies as st

from arable.domain.pool import Fill, Thresholds, fill

ORDER = list(Fill)
percents = st.integers(1, 100)
thresholds = st.builds(Thresholds, warning=percents, critical=percents, full=percents)


@given(st.integers(1, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 40), thresholds)
def test_more_in_use_is_never_less_full(total: int, one: int, other: int, at: Thresholds) -> None:
    less, more = sorted((min(one, total), min(other, total)))
    assert ORDER.index(fill(total, less, at)) <= ORDER.index(fill(total, more, at))
    assert fill(total, total, at) is Fill.FULL


@given(thresholds, st.integers(0, 99))
def test_the_most_severe_bound_that_is_reached_counts_whatever_their_order(
    at: Thresholds, used: int
) -> None:
    bounds = {Fill.WARNING: at.warning, Fill.CRITICAL: at.critical, Fill.FULL: at.full}
    reached = [state for state in ORDER if state in bounds and used >= bounds[state]]
    assert fill(100, used, at) is (reached[-1] if reached else Fill.OK)


def test_a_pool_of_which_nothing_is_known_is_not_full() -> None:
    assert fill(0, 0, Thresholds(warning=80, critical=90, full=95)) is Fill.OK
