"""A lease whose disks go to another storage host: given away by who has it, and never given here again while they are here."""

from contextlib import suppress
from dataclasses import replace

import pytest

from arable.domain.errors import Forbidden, Unavailable
from arable.domain.manifest import Heir
from arable.drivers.faults import Faults, every_failure
from arable.drivers.storage.leases import Away, Held, TooEarly
from drivers.test_disk_leases import LENGTH, A, B, M, Place, V, W, given, right

TO = 7


def wished(place: Place, to: int = TO) -> None:
    given(place)
    place.leases.allow(right(1, heir=Heir(host=A, epoch=to, away=True)))


def test_what_was_given_away_is_served_to_nobody_and_stays_so(place) -> None:
    wished(place)
    for _ in range(2):  # the answer was lost
        place.leases.hand_over(M, A, 1, TO)
    for _ in range(2):
        assert not place.exports.serving
        for ask in (place.leases.renew, place.leases.acquire):
            with pytest.raises(Away) as told:
                ask(M, A, 1)
            assert told.value.to == TO
        with pytest.raises(Away):
            place.leases.keep(M, A, 1, TO)
        for other in (right(1), right(2, B), right(9, B, fenced=A)):
            with pytest.raises(Away):
                place.leases.allow(other)
        place.restart()


def test_it_is_given_away_by_who_has_it_to_that_attempt_alone_and_not_after_it_was_kept(
    place,
) -> None:
    wished(place)
    with pytest.raises(Forbidden):
        place.leases.hand_over(M, A, 1, TO + 1)
    assert place.leases.keep(M, A, 1, TO) == LENGTH
    with pytest.raises(Forbidden):
        place.leases.hand_over(M, A, 1, TO)
    assert place.leases.record(M).away == 0
    wished(place, TO + 1)
    place.leases.hand_over(M, A, 1, TO + 1)
    assert place.leases.record(M).away == TO + 1


def test_a_wish_that_is_taken_back_first_wins(place) -> None:
    wished(place)
    place.leases.allow(right(1))
    with pytest.raises(Forbidden):
        place.leases.hand_over(M, A, 1, TO)
    assert place.leases.renew(M, A, 1) == LENGTH


def test_when_nothing_old_is_left_the_disks_may_come_back(place) -> None:
    wished(place)
    place.leases.hand_over(M, A, 1, TO)
    place.leases.erased(V)
    with pytest.raises(Away):
        place.leases.allow(right(1))
    place.leases.erased(W)
    place.leases.allow(right(1))
    assert place.leases.acquire(M, A, 1) == LENGTH


def test_a_copy_in_the_making_is_a_lease_that_nobody_waits_for(place) -> None:
    place.leases.allow(replace(right(1), beside=True))
    place.leases.acquire(M, A, 1)
    assert place.leases.record(M).beside
    place.leases.drop_beside(M)
    assert not place.exports.serving
    assert place.leases.record(M).held is Held.FREE


def test_a_copy_that_has_become_the_disk_is_a_lease_as_any_other(place) -> None:
    place.leases.allow(replace(right(1), beside=True))
    place.leases.acquire(M, A, 1)
    served = set(place.exports.serving)
    place.leases.allow(right(1))
    place.leases.drop_beside(M)
    assert place.exports.serving == served, "nothing was cut"
    place.restart()
    place.leases.allow(right(2, B))
    with pytest.raises(TooEarly):
        place.leases.acquire(M, B, 2)


def test_who_is_fenced_as_the_copy_becomes_the_disk_is_waited_for(place) -> None:
    place.leases.allow(replace(right(1), beside=True))
    place.leases.acquire(M, A, 1)
    place.leases.allow(right(2, B))
    place.leases.drop_beside(M)
    place.leases.allow(right(2, B))
    with pytest.raises(TooEarly):
        place.leases.acquire(M, B, 2)


def test_wherever_its_storage_host_dies_it_was_given_away_or_was_not() -> None:
    def story(faults: Faults) -> None:
        place = Place()
        wished(place)
        place.records.faults = faults
        with suppress(Unavailable):
            place.leases.hand_over(M, A, 1, TO)
        place.records.faults = Faults()
        place.restart()
        if not place.leases.record(M).away:
            place.leases.allow(right(1, heir=Heir(host=A, epoch=TO, away=True)))
            place.leases.hand_over(M, A, 1, TO)
        assert not place.exports.serving
        assert place.leases.record(M).away == TO

    for faults in every_failure(story):
        story(faults)


@pytest.fixture
def place() -> Place:
    return Place()
