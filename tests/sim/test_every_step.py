"""Every workflow survives that something breaks between any two of its steps.

A part of the places, another one for each story; `python -m arable.sim.run_breaks` tries them all.
"""

import pytest

from arable.sim.breaks import Act, Story, Unending, play
from arable.sim.carry_stories import CARRIES
from arable.sim.farm_stories import FARMS
from arable.sim.replica_stories import REPLICAS
from arable.sim.rollout_stories import ROLLOUTS
from arable.sim.shift_stories import SHIFTS
from arable.sim.snapshot_stories import SNAPSHOTS
from arable.sim.stories import STORIES

STRIDE = 64
EVERY = (*STORIES, *SNAPSHOTS)


SELDOM = 256
"""Those of farms have many places, and take longer."""


@pytest.mark.parametrize("number", range(len(EVERY)), ids=[story.name for story in EVERY])
def test_a_workflow_survives_a_break_between_any_two_steps(number: int) -> None:
    story = EVERY[number]
    places = len(play(story))
    assert places > STRIDE
    for at in range(number % STRIDE, places, STRIDE):
        play(story, at)


@pytest.mark.parametrize("number", range(len(CARRIES)), ids=[story.name for story in CARRIES])
def test_a_volume_on_its_way_survives_it_too(number: int) -> None:
    story = CARRIES[number]
    places = len(play(story))
    for at in range(29 * number % 128, places, 128):
        play(story, at)


@pytest.mark.parametrize("number", range(len(SHIFTS)), ids=[story.name for story in SHIFTS])
def test_a_disk_on_its_way_under_a_machine_survives_it_too(number: int) -> None:
    story = SHIFTS[number]
    places = len(play(story))
    for at in range(41 * (number + 1), places, SELDOM):
        play(story, at)


@pytest.mark.parametrize("number", range(len(REPLICAS)), ids=[story.name for story in REPLICAS])
def test_a_replica_survives_it_too(number: int) -> None:
    story = REPLICAS[number]
    places = len(play(story))
    for at in range(31 * (number + 1) % 64, places, 128):
        play(story, at)


@pytest.mark.parametrize("number", range(len(FARMS)), ids=[story.name for story in FARMS])
def test_a_farms_workflow_survives_it_too(number: int) -> None:
    story = FARMS[number]
    places = len(play(story))
    for at in range(37 * (number + 1), places, SELDOM):
        play(story, at)


@pytest.mark.parametrize("number", range(len(ROLLOUTS)), ids=[story.name for story in ROLLOUTS])
def test_a_rollout_survives_it_too(number: int) -> None:
    story = ROLLOUTS[number]
    places = len(play(story))
    for at in range(97 * (number + 1), places, 4 * SELDOM):
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
