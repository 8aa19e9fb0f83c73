"""Bills add up, whatever they are cut into."""

import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.domain.errors import BadInput
from arable.domain.price import MICRO, PriceList, parsed, written
from arable.domain.usage import UsageKind, Used
from arable.metering.rating import HOUR, Line, estimate, in_force, periods, rated, summed, total

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
END = 30 * 24 * 3600 * 10**6

moments = st.integers(0, END)
kinds = st.sampled_from(UsageKind)
offerings = st.sampled_from(["", "small", "large"])
records = st.lists(
    st.tuples(kinds, offerings, st.sampled_from(["", "farm-a", "farm-b"]), st.integers(0, 10**6), moments, moments),
    max_size=12,
)  # fmt: skip
prices = st.dictionaries(st.tuples(kinds, offerings), st.integers(0, 10**9), max_size=8)
lists = st.lists(st.tuples(moments, prices), max_size=4)


def at(micros):
    return BEGIN + timedelta(microseconds=micros)


def price_lists(said):
    return [
        PriceList(number=number, valid_from=at(moment), currency="EUR", prices=of, user="", created_at=BEGIN)
        for number, (moment, of) in enumerate(said, 1)
    ]  # fmt: skip


def within(kept, begin, end):
    """What `store.usage_records.used` makes of records."""
    return [
        Used(kind, offering, farm, farm.upper(), mib, min(max(a, b), end) - max(min(a, b), begin))
        for kind, offering, farm, mib, a, b in kept
        if min(a, b) < end and max(a, b) > begin
    ]


def bill(kept, said, begin, end):
    found = []
    for since, until, valid in periods(price_lists(said), at(begin), at(end)):
        first = (since - BEGIN) // timedelta(microseconds=1)
        last = (until - BEGIN) // timedelta(microseconds=1)
        found += rated(within(kept, first, last), valid)
    return summed(found)


@given(records, lists, st.lists(moments, max_size=4))
def test_a_bill_is_the_sum_of_the_bills_of_its_parts(kept, said, cuts):
    edges = [0, *sorted(cuts), END]
    parts = [bill(kept, said, a, b) for a, b in itertools.pairwise(edges)]
    whole = bill(kept, said, 0, END)
    assert summed(line for part in parts for line in part) == whole
    assert sum((total(part) for part in parts), Fraction()) == total(whole)


@given(records, lists, st.randoms(use_true_random=False))
def test_the_order_of_records_changes_nothing(kept, said, random):
    other = list(kept)
    random.shuffle(other)
    assert bill(kept, said, 0, END) == bill(other, said, 0, END)


@given(lists, moments)
def test_each_moment_has_one_list(said, moment):
    found = [
        valid for since, until, valid in periods(price_lists(said), at(0), at(END))
        if since <= at(moment) < until
    ]  # fmt: skip
    assert found == ([in_force(price_lists(said), at(moment))] if moment < END else [])


def test_a_change_of_prices_splits_a_line():
    kept = [(UsageKind.RUNNING, "small", "farm-a", 64, 0, 10 * HOUR)]
    dear = [(0, {(UsageKind.RUNNING, ""): 10}), (4 * HOUR, {(UsageKind.RUNNING, "small"): 30})]
    lines = bill(kept, dear, 0, END)
    assert [(line.units, line.price, line.amount) for line in lines] == [(4, 10, 40), (6, 30, 180)]


def test_the_last_list_of_those_that_begin_together_holds():
    said = [(0, {}), (HOUR, {(UsageKind.RUNNING, ""): 1}), (HOUR, {(UsageKind.RUNNING, ""): 2})]
    found = in_force(price_lists(said), at(HOUR))
    assert found is not None
    assert found.number == 3


def test_a_gib_for_a_month_is_what_its_price_says():
    month = Line(
        kind=UsageKind.VOLUME, offering="", farm="", farm_name="", price=40_000, quantity=1024 * 730 * HOUR
    )  # fmt: skip
    assert (month.units, month.amount) == (1, 40_000)
    valid = price_lists([(0, {(UsageKind.VOLUME, ""): 730_000, (UsageKind.RUNNING, "a"): 7})])[0]
    wanted = {
        (UsageKind.VOLUME, "x"): 2048,
        (UsageKind.RUNNING, "a"): 3,
        (UsageKind.ADDRESS, ""): 9,
    }
    assert estimate(wanted, valid) == 2_000 + 21
    assert estimate(wanted, None) == 0


@given(st.integers(-(10**15), 10**15))
def test_amounts_are_read_as_they_are_written(micros):
    assert parsed(written(micros), "amount") == micros


@pytest.mark.parametrize("text", ["1.0000001", "1e3", ".5", "1,5", "", "-", "٣"])
def test_what_is_no_exact_amount_is_refused(text):
    with pytest.raises(BadInput):
        parsed(text, "amount")


def test_amounts_as_people_write_them():
    assert parsed("12.5", "amount") == 12 * MICRO + 500_000
    assert (written(12_500_000), written(1), written(-MICRO)) == ("12.50", "0.000001", "-1.00")
