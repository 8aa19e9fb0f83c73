"""Every workflow survives that something breaks between any two of its steps.

A part of the places, another one for each story; `python -m arable.sim.run_breaks` tries them all.
"""

import pytest

from arable.sim.breaks import Act, Story, Unending, play
from arable.sim.stories import STORIES

STRIDE = 16


@pytest.mark.parametrize("number", range(len(STORIES)), ids=[story.name for story in STORIES])
def test_a_workflow_survives_a_break_between_any_two_steps(number: int) -> None:
    story = STORIES[number]
    places = len(play(story))
    assert places > 2 * STRIDE
    for at in range(number % STRIDE, places, STRIDE):
        play(story, at)


def test_all_kinds_of_places_are_there() -> None:
    deploy = play(STORIES[0])
    for kind in (
        "before commit",
        "after commit",
        "before the ledger is saved",
        "after the ledger is saved",
        "Report to the server",
        "Change to the host",
    ):
        assert kind in deploy, kind
    assert [place for place in deploy if place.startswith("before ensure")]


def test_a_story_whose_end_does_not_come_is_told() -> None:
    never = Story("never", (), (Act(lambda _cloud: None, lambda _cloud: True),), lambda _: False)
    with pytest.raises(Unending, match="not as it was asked for"):
        play(never)
