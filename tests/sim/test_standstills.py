"""Processes that stop in the middle of something: others go on, they go on from there, and killed ones never do."""

from dataclasses import dataclass

import pytest

from arable.sim.standstills import Standstills


@dataclass
class Some:
    life: int = 1
    stopped: int = 0
    there: bool = True


def test_a_process_stops_at_the_place_that_was_drawn_and_goes_on_from_there() -> None:
    told: list[str] = []
    one = Some()

    def elapse(seconds: float) -> None:
        told.append(f"{seconds:g} s, stopped: {one.stopped}")

    stills = Standstills(elapse)
    stills.arm(one, 2, 40.0)
    with stills.within(one):
        for step in ("first", "second", "third"):
            stills.here()
            told.append(step)
    assert told == ["first", "40 s, stopped: 1", "second", "third"]
    assert not one.stopped


@pytest.mark.parametrize("again", [False, True])
def test_one_that_was_killed_meanwhile_does_nothing_more(again: bool) -> None:
    done: list[str] = []
    one = Some()

    def killed(_seconds: float) -> None:
        one.there, one.life = again, one.life + again

    stills = Standstills(killed)
    stills.arm(one, 1, 1.0)
    with stills.within(one):
        stills.here()
        done.append("it acted after its end")
    assert not done


def test_who_waits_for_one_that_stopped_waits_with_it_and_may_die_of_that() -> None:
    asks, answers = Some(), Some()
    done: list[str] = []

    def elapse(_seconds: float) -> None:
        assert (asks.stopped, answers.stopped) == (1, 1)
        asks.there = False

    stills = Standstills(elapse)
    stills.arm(answers, 1, 1.0)
    with stills.within(asks):
        with stills.within(answers):
            stills.here()
            done.append("answered")
        done.append("heard")
    assert done == ["answered"]


def test_others_move_while_one_stands_still_and_are_not_told_of_its_end() -> None:
    one, other = Some(), Some()
    done: list[str] = []

    def elapse(_seconds: float) -> None:
        one.there = False
        with stills.within(other):
            stills.here()
            done.append("the other one moved")

    stills = Standstills(elapse)
    stills.arm(one, 1, 1.0)
    with stills.within(one):
        stills.here()
        done.append("it went on")
    assert done == ["the other one moved"]


def test_nobody_stops_within_a_transaction() -> None:
    stopped: list[float] = []
    one = Some()
    stills = Standstills(stopped.append)
    stills.arm(one, 1, 1.0)
    with stills.within(one):
        with stills.whole():
            stills.here()
        assert not stopped
        stills.here()
    assert stopped == [1.0]
