"""Who may become master, as a function of what was read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.cluster.election import Council, calm, may_elect, missed
from arable.cluster.members import live, quorum
from arable.cluster.times import Times, span
from arable.domain.ids import SegmentId
from arable.domain.segment import (
    NOBODY,
    Cause,
    Mastership,
    Segment,
    SegmentState,
    Suspicion,
)

TIMES = Times()
NOW = datetime(2030, 1, 1, tzinfo=UTC)
A, B, C, D, E = IDS = [SegmentId(f"server-{letter}") for letter in "abcde"]


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def segment(id_: SegmentId, heard: float = 0.5, state=SegmentState.READY) -> Segment:
    return Segment(
        id=id_,
        seq=IDS.index(id_) + 1,
        epoch=1,
        address="",
        state=state,
        heartbeat_at=ago(heard),
    )


def lease(holder: SegmentId = A, left: float = 2.5, tenure: float = 100.0) -> Mastership:
    return Mastership(holder, 7, NOW + timedelta(seconds=left), ago(tenure))


def council(members, suspected=(), *, of: Mastership | None = None, recent=0, since=0.5) -> Council:
    said = tuple(Suspicion(each, 7, ago(since), ago(0.1)) for each in suspected)
    return Council(NOW, of or lease(), tuple(members), said, recent)


THREE = [segment(each) for each in (A, B, C)]


def test_the_first_start_is_the_eldests_and_needs_no_waiting():
    nobody = Mastership(NOBODY, 0, ago(1e6), ago(1e6))
    assert may_elect(A, council(THREE, of=nobody), TIMES).cause is Cause.FIRST
    assert not may_elect(B, council(THREE, of=nobody), TIMES).may


def test_a_single_server_takes_its_own_lease_that_ended():
    seen = council([segment(A)], of=lease(left=-0.01))
    assert may_elect(A, seen, TIMES).cause is Cause.ENDED


def test_whoever_holds_the_lease_from_an_earlier_life_takes_it_at_once():
    assert may_elect(A, council(THREE), TIMES).cause is Cause.REBORN
    assert not may_elect(A, council(THREE), TIMES, acting=True).may


def test_a_majority_throws_a_master_over_and_the_eldest_of_it_succeeds():
    seen = council(THREE, [B, C])
    assert may_elect(B, seen, TIMES).cause is Cause.SUSPECTED
    assert not may_elect(C, seen, TIMES).may
    later = council(THREE, [B, C], since=TIMES.grace)
    assert may_elect(C, later, TIMES).may


def test_one_of_three_throws_nobody_over():
    for me in (B, C):
        assert not may_elect(me, council(THREE, [me]), TIMES).may


def test_one_who_finds_the_master_is_not_elected_against_it():
    five = [segment(each) for each in IDS]
    assert not may_elect(B, council(five, [C, D, E]), TIMES).may
    assert may_elect(C, council(five, [C, D, E]), TIMES).may


@pytest.mark.parametrize("me", [B])
def test_of_two_servers_neither_throws_over_one_that_beats(me):
    assert not may_elect(me, council(THREE[:2], [B]), TIMES).may


def test_when_the_lease_has_ended_the_first_in_line_is_preferred_but_not_waited_for_for_ever():
    ended = lease(left=-0.1)
    assert not may_elect(C, council(THREE, of=ended), TIMES).may
    assert may_elect(B, council(THREE, [C], of=ended), TIMES).may, "the holder is doubted"
    ended = lease(left=-TIMES.grace)
    assert may_elect(C, council(THREE, of=ended), TIMES).may


def test_old_suspicions_and_those_of_the_dead_count_for_nothing():
    silent = [segment(A), segment(B), segment(C, heard=TIMES.silent + 0.1)]
    seen = council(silent, [B, C])
    assert not may_elect(B, seen, TIMES).may
    old = tuple(Suspicion(each, 7, ago(9), ago(TIMES.fresh + 0.1)) for each in (B, C))
    assert not may_elect(B, Council(NOW, lease(), tuple(THREE), old), TIMES).may
    other = tuple(Suspicion(each, 6, ago(1), ago(0.1)) for each in (B, C))
    assert not may_elect(B, Council(NOW, lease(), tuple(THREE), other), TIMES).may


def test_the_draining_and_the_gone_are_not_elected_and_not_counted():
    for state in (SegmentState.DRAINING, SegmentState.GONE):
        members = [segment(A, state=state), segment(B)]
        assert not may_elect(A, council(members, of=lease(left=-9)), TIMES).may
        assert may_elect(B, council(members, [B]), TIMES).may


def test_masters_that_renew_are_left_in_office_the_longer_the_more_of_them_were_thrown_over():
    young = lease(left=2.9, tenure=2.0)
    assert not may_elect(B, council(THREE, [B, C], of=young, recent=1), TIMES).may
    assert may_elect(B, council(THREE, [B, C], of=young), TIMES).may
    stuck = lease(left=1.0, tenure=2.0)  # it does not renew: no reason to wait
    assert may_elect(B, council(THREE, [B, C], of=stuck, recent=9), TIMES).may
    spans = [calm(count, TIMES) for count in range(20)]
    assert spans == sorted(spans)
    assert spans[0] == span(0)
    assert spans[-1] < span(TIMES.calm)


@given(
    st.lists(st.sampled_from(IDS), unique=True),
    st.lists(st.sampled_from(IDS), unique=True),
    st.sampled_from(IDS),
    st.floats(-5, 3),
)
def test_a_valid_lease_is_taken_only_with_a_majority_of_the_live(members, suspecting, me, left):
    seen = council([segment(each) for each in members], suspecting, of=lease(left=left))
    verdict = may_elect(me, seen, TIMES, acting=True)
    if verdict.may and seen.lease.until > NOW:
        found = live(seen.segments, NOW, TIMES)
        assert len(verdict.agreed) >= quorum(len(found))
        assert me in verdict.agreed
        assert A not in verdict.agreed
        assert set(verdict.agreed) <= set(suspecting) & set(members)


@given(st.lists(st.sampled_from(IDS), min_size=1, unique=True), st.floats(-5, 0))
def test_when_the_lease_has_ended_somebody_live_may_always_act(members, left):
    seen = council([segment(each) for each in members], of=lease(left=left))
    assert any(may_elect(each, seen, TIMES).may for each in members)


def test_an_answer_is_a_miss_unless_the_master_claims_its_epoch():
    assert missed(7, None, A) == "no answer"
    assert missed(7, (B, 7), A) == "server-b answers in its place"
    assert missed(7, (A, 0), A) == "it does not act as master"
    assert missed(7, (A, 6), A)
    assert missed(7, (A, 7), A) == ""
    assert missed(7, (A, 8), A) == "", "it knows more than we do"


def test_times_scale_together():
    half = TIMES.scaled(0.5)
    assert (half.ping, half.length, half.lost) == (0.5, 1.5, 3.0)
