"""A lease that is handed over: in one step, by who has it, to whom it is wished, and never both handed over and kept."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from arable.domain.errors import CloudError, Forbidden, Stale, Unavailable
from arable.domain.manifest import Heir
from arable.drivers.faults import Faults
from arable.drivers.storage.leases import Coming, Held
from drivers.test_disk_leases import LENGTH, A, B, C, M, Place, V, W, given, right


@pytest.fixture
def place() -> Place:
    return Place()


def wished(place: Place, epoch: int = 1, to: int = 2) -> None:
    """The holder has it, and may hand it over."""
    given(place, epoch)
    place.leases.allow(right(epoch, heir=Heir(host=B, epoch=to)))


def test_an_heir_waits_with_disks_that_hold_nothing(place) -> None:
    wished(place)
    for _ in range(2):
        with pytest.raises(Coming):
            place.leases.acquire(M, B, 2)
    assert place.exports.standing_in == {(V, 2, B), (W, 2, B)}
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}
    assert place.leases.renew(M, A, 1) == LENGTH


@pytest.mark.parametrize(("host", "epoch"), [(C, 2), (B, 3), (A, 2)])
def test_nobody_else_does(place, host, epoch) -> None:
    wished(place)
    with pytest.raises(Forbidden):
        place.leases.acquire(M, host, epoch)
    assert not place.exports.standing_in


def test_what_is_handed_over_is_the_heirs_at_once_and_the_holders_never_again(place) -> None:
    wished(place)
    for _ in range(2):  # the answer was lost
        place.leases.hand_over(M, A, 1, 2)
    assert place.exports.serving == {(V, 2, B), (W, 2, B)}
    assert place.leases.record(M).passed
    assert place.leases.acquire(M, B, 2) == LENGTH
    for ask in (place.leases.renew, place.leases.acquire):
        with pytest.raises(Stale):
            ask(M, A, 1)
    with pytest.raises(Stale):
        place.leases.keep(M, A, 1, 2)
    with pytest.raises(Stale):
        place.leases.allow(right(1))
    place.leases.allow(right(2, B))
    assert place.exports.serving == {(V, 2, B), (W, 2, B)}


def test_what_is_kept_is_never_handed_over(place) -> None:
    wished(place)
    assert place.leases.keep(M, A, 1, 2) == LENGTH
    for _ in range(2):
        with pytest.raises(Forbidden):
            place.leases.hand_over(M, A, 1, 2)
        with pytest.raises(Forbidden):
            place.leases.acquire(M, B, 2)
        place.restart()
        place.leases.allow(right(1, heir=Heir(host=B, epoch=2)))
    place.leases.allow(right(1, heir=Heir(host=B, epoch=3)))
    place.leases.hand_over(M, A, 1, 3)
    assert place.leases.record(M).holder == B


def test_without_a_wish_nothing_is_handed_over(place) -> None:
    given(place)
    with pytest.raises(Forbidden):
        place.leases.hand_over(M, A, 1, 2)
    place.restart()
    with pytest.raises(Unavailable):  # what is wished is told again in a moment
        place.leases.hand_over(M, A, 1, 2)
    place.leases.allow(right(1, heir=Heir(host=B, epoch=2)))
    place.leases.hand_over(M, A, 1, 2)


def test_only_its_holder_hands_it_over(place) -> None:
    wished(place)
    for host, epoch in ((B, 1), (B, 2), (A, 2)):
        with pytest.raises(Stale):
            place.leases.hand_over(M, host, epoch, 2)
    assert place.leases.record(M).holder == A


def test_a_wish_that_is_taken_back_first_is_not_fulfilled(place) -> None:
    wished(place)
    with pytest.raises(Coming):
        place.leases.acquire(M, B, 2)
    place.leases.allow(right(1))
    assert not place.exports.standing_in
    with pytest.raises(Forbidden):
        place.leases.hand_over(M, A, 1, 2)
    assert place.leases.renew(M, A, 1) == LENGTH


def test_a_lease_that_nobody_has_is_not_waited_for(place) -> None:
    wished(place)
    place.leases.release(M, A, 1)
    with pytest.raises(Forbidden):
        place.leases.acquire(M, B, 2)


def test_who_is_given_it_in_another_way_was_not_handed_it(place) -> None:
    wished(place)
    place.leases.allow(right(2, B, fenced=A))
    place.leases.acquire(M, B, 2)
    assert not place.leases.record(M).passed
    place.leases.allow(right(2, B, heir=Heir(host=A, epoch=3)))
    place.leases.hand_over(M, B, 2, 3)
    assert place.leases.record(M).passed
    place.leases.allow(right(4, C, fenced=A))
    place.leases.acquire(M, C, 4)
    assert not place.leases.record(M).passed


@pytest.mark.parametrize("place_of_failure", [0, 1])
def test_a_handing_over_that_may_not_be_written_down_keeps_everybody_waiting(
    place, place_of_failure
) -> None:
    wished(place)
    place.records.faults = Faults(fail_at=place_of_failure)
    with pytest.raises(Unavailable):
        place.leases.hand_over(M, A, 1, 2)
    place.leases.tend()
    place.restart()
    place.leases.tend()
    assert len({epoch for _, epoch, _ in place.exports.serving}) == 1


class AnyOrder(RuleBasedStateMachine):
    """Both ask what they like in any order, records and servers of disks fail, and the agent is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Place()
        given(self.place)
        self.kept: set[int] = set()
        self.passed: set[int] = set()
        self.to = 1

    def _try(self, act) -> bool:
        with contextlib.suppress(CloudError):
            act()
            return True
        return False

    @rule()
    def wishes(self) -> None:
        self.to += 1
        with contextlib.suppress(CloudError):
            self.place.leases.allow(right(1, heir=Heir(host=B, epoch=self.to)))

    @rule()
    def takes_back(self) -> None:
        with contextlib.suppress(CloudError):
            self.place.leases.allow(right(1))

    @rule(back=st.integers(0, 2))
    def hands_over(self, back) -> None:
        to = self.to - back
        if self._try(lambda: self.place.leases.hand_over(M, A, 1, to)):
            self.passed.add(to)

    @rule(back=st.integers(0, 2))
    def keeps(self, back) -> None:
        to = self.to - back
        if self._try(lambda: self.place.leases.keep(M, A, 1, to)):
            self.kept.add(to)

    @rule()
    def heir_asks(self) -> None:
        if self._try(lambda: self.place.leases.acquire(M, B, self.to)):
            assert self.place.leases.record(M).passed
            self.passed.add(self.to)

    @rule()
    def looks_after_them(self) -> None:
        with contextlib.suppress(CloudError):
            self.place.leases.tend()

    @rule()
    def agent_is_replaced(self) -> None:
        self.place.restart()

    @rule(at=st.integers(0, 3), records=st.booleans())
    def something_fails(self, at, records) -> None:
        faults = Faults(fail_at=at)
        if records:
            self.place.records.faults = faults
        else:
            self.place.exports.faults = faults

    @invariant()
    def what_was_kept_was_not_handed_over(self) -> None:
        assert not (self.passed and self.kept and max(self.kept) >= min(self.passed))
        assert len(self.passed) <= 1

    @invariant()
    def never_served_to_two(self) -> None:
        assert len({(epoch, holder) for _, epoch, holder in self.place.exports.serving}) <= 1

    @invariant()
    def its_holder_is_one_of_both(self) -> None:
        record = self.place.leases.record(M)
        assert record.held is Held.TAKEN
        assert replace(record, holder=None).served in {1, *self.passed, *range(2, self.to + 1)}


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
