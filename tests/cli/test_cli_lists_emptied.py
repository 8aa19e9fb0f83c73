"""What a change says of a list: nothing (it stays), some, or none at all."""

import pytest

from arable.cli.fields import built, collected, fields_of
from arable.wire.orders import PlanChange
from arable.wire.regions import RegionChange

FIELDS = fields_of(RegionChange)


def said(**given):
    values = collected(FIELDS, given, lambda _field, text: text)
    return built(RegionChange, values, FIELDS)


def test_what_is_not_said_stays():
    assert said() == RegionChange()
    assert said(labels=[]) == RegionChange()


@pytest.mark.parametrize(("typed", "meant"), [(["eu"], ("eu",)), (["eu", "far"], ("eu", "far"))])
def test_a_list_is_what_is_said(typed, meant):
    assert said(labels=typed) == RegionChange(labels=meant)


def test_an_empty_word_alone_is_a_list_of_nothing():
    assert said(labels=[""]) == RegionChange(labels=())


def test_lists_of_parts_are_emptied_alike_and_the_server_judges():
    fields = fields_of(PlanChange)
    values = collected(fields, {"tiers": [""]}, lambda _field, text: text)
    assert values == {"tiers": []}
