"""The right to run what has replicas: a storage host that was without power waits for a word, and the next one for time."""

from collections.abc import Callable

import pytest

from arable.domain.errors import Forbidden, Unavailable
from arable.drivers.storage.leases import Held, Lapsed, TooEarly
from drivers.test_disk_leases import LENGTH, A, B, M, Place, V, W, right


@pytest.fixture
def place() -> Place:
    return Place()


def given(place: Place, *, guarded: bool = True) -> None:
    place.leases.allow(right(1, guarded=guarded))
    place.leases.hear()
    place.leases.acquire(M, A, 1)


def cut_off(place: Place) -> None:
    """Its power is lost, and comes back: nothing is served, and its agent knows what was wished before."""
    place.exports.serving.clear()
    place.restart()
    place.leases.allow(right(1, guarded=True))


def test_an_agent_that_is_made_anew_serves_on(place) -> None:
    given(place)
    place.restart()
    place.leases.tend()
    assert place.leases.renew(M, A, 1) == LENGTH
    assert place.leases.acquire(M, A, 1) == LENGTH


def test_what_has_no_replica_is_given_out_at_once(place) -> None:
    given(place, guarded=False)
    place.exports.serving.clear()
    place.restart()
    place.leases.allow(right(1))
    assert place.leases.renew(M, A, 1) == LENGTH
    place.leases.tend()
    assert place.exports.serving


@pytest.mark.parametrize(
    "asked",
    [
        lambda leases: leases.acquire(M, A, 1),
        lambda leases: leases.renew(M, A, 1),
        lambda leases: leases.keep(M, A, 1, 2),
        lambda leases: leases.hand_over(M, A, 1, 2),
    ],
)
def test_after_a_cut_of_power_nothing_is_given_before_a_word_was_heard(
    place: Place, asked: Callable
) -> None:
    given(place)
    cut_off(place)
    place.leases.tend()
    with pytest.raises(Unavailable):
        asked(place.leases)
    place.leases.rework(M, V, lambda: None)
    assert not place.exports.serving
    place.leases.hear()
    place.leases.tend()
    assert place.leases.renew(M, A, 1) == LENGTH
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}


def test_what_was_given_elsewhere_meanwhile_is_over_here(place) -> None:
    """The word is that nobody has it by this host any more: its old holder gets it neither anew nor for longer."""
    given(place)
    cut_off(place)
    place.leases.forget(M)
    place.leases.hear()
    place.leases.tend()
    with pytest.raises(Lapsed):
        place.leases.renew(M, A, 1)
    with pytest.raises(Forbidden):
        place.leases.acquire(M, A, 1)
    assert not place.exports.serving
    place.wait(LENGTH + 1)
    place.leases.tend()
    assert place.leases.record(M).held is Held.FREE


def test_where_disks_come_to_the_next_epoch_waits_for_as_long_as_the_last_one_may_have(
    place: Place,
) -> None:
    place.leases.allow(right(7, A, guarded=True, uprooted=7))
    place.leases.hear()
    with pytest.raises(TooEarly) as early:
        place.leases.acquire(M, A, 7)
    assert early.value.seconds == pytest.approx(LENGTH)
    place.restart()  # which makes promises longer, never shorter
    place.leases.allow(right(7, A, guarded=True, uprooted=7))
    place.leases.hear()
    place.wait(LENGTH - 0.1)
    with pytest.raises(TooEarly):
        place.leases.acquire(M, A, 7)
    place.wait(0.2)
    place.leases.acquire(M, A, 7)
    place.leases.allow(right(8, B, guarded=True, uprooted=7))
    with pytest.raises(TooEarly):
        place.leases.acquire(M, B, 8)


def test_a_holder_without_power_is_not_waited_for(place: Place) -> None:
    place.leases.allow(right(7, B, guarded=True, uprooted=7, fenced=A))
    place.leases.hear()
    assert place.leases.acquire(M, B, 7) == LENGTH
