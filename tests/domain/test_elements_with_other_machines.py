"""Somebody wants another machine for an element that nothing is wrong with."""

from dataclasses import replace

from test_tier_acts import RUNS, WELL, S, acts, element, seen

from arable.domain.element import Element
from arable.domain.tier_acts import Drain, Keep, TakeBack


def wanted_anew(number: int, **but) -> Element:
    return element(number, replaces=f"machine-{number}", **but)


def test_one_that_is_to_have_another_machine_is_drained_while_enough_serve():
    one, other = wanted_anew(1), element(2)
    assert acts([seen(one), seen(other)], least=1) == [Drain("element-1")]
    waits = [seen(one), seen(element(2, S.PROVING), RUNS, replace(WELL, well=None))]
    assert acts(waits, least=1) == []


def test_one_that_never_can_be_spared_keeps_its_machine_unless_by_force():
    one, other = wanted_anew(1), element(2)
    (kept,) = acts([seen(one), seen(other)], least=2)
    assert isinstance(kept, Keep)
    assert kept.element == "element-1"
    forced = replace(one, by_force=True)
    assert acts([seen(forced), seen(other)], least=2) == [Drain("element-1")]
    assert acts([seen(forced)], least=1, count=1) == [Drain("element-1")]


def test_its_next_machine_is_not_the_one_that_somebody_did_not_want():
    made = element(1, machine="machine-next", replaces="machine-1")
    assert acts([seen(made), seen(element(2))], least=1) == []
    ready = replace(WELL, wanted=0)
    drained = element(1, S.DRAINING, replaces="machine-1")
    assert not any(isinstance(a, TakeBack) for a in acts([seen(drained, RUNS, ready)], count=1))
