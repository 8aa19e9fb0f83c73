"""A lease beside another one gives no right to run, and its loss takes none, until the other is given away for good."""

from dataclasses import replace

import pytest
from msgspec import structs
from test_lease_keeper import LENGTH, MARGIN, M, Rig, S, T, V, want

from arable.agent.leases import Settled
from arable.wire.leases import Verb, Verdict

TO = 7


@pytest.fixture
def rig() -> Rig:
    return Rig()


def shifting():
    return replace(want(), volumes=frozenset({V}), beside=T, shift=TO)


def both(rig: Rig) -> None:
    rig.keeper.want([shifting()], {M})
    rig.work()
    assert rig.keeper.lacks(M, 1) == ""
    assert rig.keeper.beside(M, 1)[V].host == T.host
    assert rig.keeper.disks(M, 1)[V].host == S.host


def given(rig: Rig) -> None:
    rig.lines[S].answers(Verdict.FREE)
    rig.keeper.hand_over(M, 1, TO)
    rig.work()
    assert rig.keeper.settled(M, 1, TO) is Settled.GONE


def test_what_is_beside_is_not_needed_to_run(rig) -> None:
    both(rig)
    for verdict in (Verdict.LOST, Verdict.REFUSED, Verdict.WAIT):
        rig.lines[T].answers(verdict, told="no", seconds=1.0)
        rig.work(LENGTH)
        assert rig.keeper.lacks(M, 1) == "", verdict
        assert not rig.keeper.beside(M, 1), verdict
    rig.lines[T].says = rig.lines[T].agrees
    rig.work(5.0)
    assert rig.keeper.beside(M, 1)


def test_who_is_to_be_asked_beside_is_asked_at_once(rig) -> None:
    """Threads sleep until they are told: the other storage host may have none yet, and a disk more is not waited for either."""
    rig.keeper.want([replace(want(), volumes=frozenset({V}))], {M})
    rig.work()
    rung: list[set[object]] = []
    rig.keeper.changed = lambda: rung.append(rig.keeper.places())
    rig.keeper.want([replace(want(), volumes=frozenset({V}))], {M})
    assert rung == [], "nothing is new"
    rig.keeper.want([shifting()], {M})
    assert rung == [{S, T}]


def test_when_the_other_is_given_away_it_is_what_counts(rig) -> None:
    both(rig)
    given(rig)
    assert rig.keeper.away(M, 1)
    assert not rig.keeper.lost(M, 1)
    assert rig.keeper.disks(M, 1)[V].host == T.host
    rig.lines[S].is_away()
    rig.work(2 * LENGTH)
    assert rig.keeper.lacks(M, 1) == ""
    assert rig.deadline() > rig.now(), "the watchdog lets it run"
    rig.lines[T].is_away()
    rig.work(LENGTH + MARGIN)
    assert rig.keeper.lacks(M, 1)


def test_only_who_has_it_is_asked_to_give_it_away(rig) -> None:
    both(rig)
    given(rig)
    asked = {place: [ask.verb for ask in line.asked] for place, line in rig.lines.items()}
    assert Verb.HAND_OVER in asked[S]
    assert Verb.HAND_OVER not in asked[T]
    assert rig.lines[S].asked[-1].to == TO


def test_when_that_is_refused_it_is_kept(rig) -> None:
    both(rig)
    agrees = rig.lines[S].agrees

    def says(ask):
        verdict = Verdict.REFUSED if ask.verb is Verb.HAND_OVER else Verdict.HELD
        return structs.replace(agrees(ask), verdict=verdict)

    rig.lines[S].says = says
    rig.keeper.hand_over(M, 1, TO)
    rig.work()
    assert rig.keeper.settled(M, 1, TO) is Settled.KEPT
    assert rig.keeper.lacks(M, 1) == ""
    assert rig.keeper.disks(M, 1)[V].host == S.host


def test_another_agent_hears_it_from_who_gave_it_away(rig) -> None:
    both(rig)
    given(rig)
    rig.restart()
    rig.lines[S].answers(Verdict.AWAY)
    rig.keeper.want([shifting()], {M})
    rig.work()
    assert rig.keeper.away(M, 1)
    assert rig.keeper.lacks(M, 1) == ""


def test_or_finds_the_guest_there_when_nobody_can_say_so(rig) -> None:
    both(rig)
    given(rig)
    rig.restart()
    rig.lines[S].is_away()
    rig.keeper.want([shifting()], {M})
    rig.work()
    assert rig.keeper.lacks(M, 1)
    rig.keeper.went(M, 1, TO)
    rig.work()
    assert rig.keeper.lacks(M, 1) == ""


def test_what_the_control_plane_says_then_changes_nothing(rig) -> None:
    both(rig)
    given(rig)
    before = rig.deadline()
    rig.lines[S].is_away()
    rig.keeper.want([replace(want(1, T), volumes=frozenset({V}))], {M})
    assert rig.keeper.lacks(M, 1) == ""
    assert rig.deadline() == before
    assert rig.keeper.places() == {T}
    rig.work(2 * LENGTH)
    assert rig.keeper.lacks(M, 1) == ""


def test_what_is_taken_back_is_as_if_it_had_never_been(rig) -> None:
    both(rig)
    rig.keeper.want([replace(want(), volumes=frozenset({V}))], {M})
    assert rig.keeper.places() == {S}
    assert rig.keeper.lacks(M, 1) == ""
    rig.work(2 * LENGTH)
    assert rig.keeper.disks(M, 1)[V].host == S.host


def test_a_lease_that_was_lost_there_is_lost(rig) -> None:
    """A later epoch was seen: whoever has that is to run it, with the disks that are there."""
    both(rig)
    rig.lines[S].answers(Verdict.LOST)
    rig.keeper.hand_over(M, 1, TO)
    rig.work()
    assert rig.keeper.lost(M, 1)
    assert not rig.keeper.away(M, 1)
    assert rig.deadline() == 0
