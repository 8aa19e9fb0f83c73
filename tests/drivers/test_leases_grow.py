"""Disks come to a machine's lease and go from it while it is held: nobody else's, and never twice."""

import contextlib

import pytest

from arable.domain.errors import CloudError, NoRoom, Unavailable
from arable.domain.ids import VolumeId
from arable.drivers.faults import Faults, every_failure
from arable.drivers.storage.lease_records import MemoryRecords
from arable.drivers.storage.leases import Held, TooEarly
from drivers.test_disk_leases import LENGTH, A, B, Exports, M, N, Place, V, W, given, place, right

__all__ = ["place"]

X = VolumeId("volume-x")


def test_a_disk_that_the_machine_loses_is_cut_off_and_the_others_are_served_on(place) -> None:
    given(place)
    place.leases.allow(right(1, volumes=(V,)))
    assert place.exports.serving == {(V, 1, A)}
    place.restart()
    place.leases.tend()
    assert place.exports.serving == {(V, 1, A)}
    assert place.leases.renew(M, A, 1) == LENGTH


def test_a_disk_that_the_machine_gets_is_served_when_its_holder_asks_again(place) -> None:
    given(place)
    place.leases.allow(right(1, volumes=(V, W, X)))
    assert (X, 1, A) not in place.exports.serving
    place.leases.acquire(M, A, 1)
    assert place.exports.serving == {(V, 1, A), (W, 1, A), (X, 1, A)}
    assert place.leases.record(M).volumes == (V, W, X)


def test_a_disk_that_is_not_there_costs_the_machine_nothing(place) -> None:
    given(place)
    place.exports.absent.add(X)
    place.leases.allow(right(1, volumes=(V, W, X)))
    assert place.leases.acquire(M, A, 1) == LENGTH
    assert place.leases.record(M).volumes == (V, W)
    place.exports.absent.clear()
    place.leases.acquire(M, A, 1)
    assert (X, 1, A) in place.exports.serving


def test_a_disk_goes_to_the_next_machine_only_when_the_last_one_is_cut_off(place) -> None:
    given(place)
    place.leases.allow(right(1, B, machine=N, volumes=(X,)))
    place.leases.acquire(N, B, 1)
    place.leases.allow(right(1, B, machine=N, volumes=(X, W)))
    place.leases.acquire(N, B, 1)
    assert place.exports.serving == {(V, 1, A), (W, 1, A), (X, 1, B)}
    place.leases.allow(right(1, volumes=(V,)))
    place.leases.acquire(N, B, 1)
    assert place.exports.serving == {(V, 1, A), (W, 1, B), (X, 1, B)}
    place.leases.acquire(M, A, 1)
    assert (W, 1, A) not in place.exports.serving


def test_a_machine_that_starts_never_takes_a_disk_from_one_that_has_it(place) -> None:
    given(place)
    place.leases.allow(right(1, B, machine=N, volumes=(X, W)))
    with pytest.raises(TooEarly):
        place.leases.acquire(N, B, 1)
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}


def change_of_disks(faults: Faults) -> None:
    """A disk goes from one machine to another while both run; whoever is disturbed asks again."""
    place = Place(records=MemoryRecords(faults), exports=Exports(faults))

    def insist(*steps) -> None:
        for step in steps:
            for _ in range(3):
                try:
                    step()
                    break
                except (CloudError, OSError):
                    place.restart()
                    rights = (right(1), right(1, B, machine=N, volumes=(X,)))
                    for one in rights if step in before else ():
                        with contextlib.suppress(CloudError):
                            place.leases.allow(one)

    before = [
        lambda: place.leases.allow(right(1)),
        lambda: place.leases.acquire(M, A, 1),
        lambda: place.leases.allow(right(1, B, machine=N, volumes=(X,))),
        lambda: place.leases.acquire(N, B, 1),
    ]
    insist(*before)

    def say() -> None:
        place.leases.allow(right(1, volumes=(V,)))
        place.leases.allow(right(1, B, machine=N, volumes=(X, W)))

    def ask() -> None:
        say()
        place.leases.acquire(M, A, 1)
        place.leases.acquire(N, B, 1)
        place.leases.tend()

    insist(say, ask)
    assert place.exports.serving == {(V, 1, A), (X, 1, B), (W, 1, B)}
    assert set(place.leases.record(M).volumes) == {V}


def test_disks_change_machines_wherever_one_step_fails() -> None:
    tried = 0
    for faults in every_failure(change_of_disks):
        change_of_disks(faults)
        tried += 1
    assert tried >= 10


def test_a_disk_is_worked_on_while_nobody_has_it_and_served_again_afterwards(place) -> None:
    given(place)
    seen = []
    place.leases.rework(M, W, lambda: seen.append(set(place.exports.serving)))
    assert seen == [{(V, 1, A)}], "the other one is served on"
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}


def test_a_disk_that_could_not_be_worked_on_is_served_as_before(place) -> None:
    given(place)

    def fails() -> None:
        raise NoRoom("nowhere")

    with pytest.raises(NoRoom):
        place.leases.rework(M, W, fails)
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}


def test_a_disk_that_is_worked_on_is_served_to_nobody_who_has_no_lease(place) -> None:
    given(place)
    place.leases.release(M, A, 1)
    place.leases.rework(M, W, lambda: None)
    assert place.exports.serving == set()


def test_a_lease_waits_until_its_disks_are_as_they_should_be(place) -> None:
    place.exports.absent.add(W)
    place.leases.allow(right(1))
    with pytest.raises(Unavailable):
        place.leases.acquire(M, A, 1)
    assert (place.exports.serving, place.leases.record(M).held) == (set(), Held.FREE)
    place.exports.absent.clear()
    assert place.leases.acquire(M, A, 1) == LENGTH


def work_on_a_disk(faults: Faults) -> None:
    place = Place(exports=Exports(faults), records=MemoryRecords(faults))
    worked = []
    for _ in range(5):
        with contextlib.suppress(CloudError):
            place.leases.allow(right(1))
            place.leases.acquire(M, A, 1)
            if not worked:
                place.leases.rework(M, W, lambda: worked.append(set(place.exports.serving)))
        place.restart()
        with contextlib.suppress(CloudError):
            place.leases.tend()
    assert all(not any(volume == W for volume, _, _ in seen) for seen in worked)
    assert worked
    assert place.exports.serving == {(V, 1, A), (W, 1, A)}


def test_a_disk_is_worked_on_and_served_again_wherever_one_step_fails() -> None:
    for faults in every_failure(work_on_a_disk):
        work_on_a_disk(faults)


def test_a_lease_is_renewed_while_its_disk_is_worked_on(place) -> None:
    given(place)
    renewed = []
    place.leases.rework(M, V, lambda: renewed.append(place.leases.renew(M, A, 1)))
    assert renewed == [LENGTH]
