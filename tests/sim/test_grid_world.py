"""Whole regions and their grid manager under the dice. `make world GRID=1 SEEDS=…` plays longer stories."""

from arable.sim.grid_happenings import HAPPENINGS
from arable.sim.grid_world import GridShape, GridWorld
from arable.sim.ground import Room

LIGHT = Room(pods=1, hosts=1, host_memory_mib=4096)


def test_whatever_happens_between_regions_all_comes_to_rest_as_everybody_said() -> None:
    GridWorld("two regions", GridShape((LIGHT, LIGHT), HAPPENINGS, away=True)).run(6)


def test_a_seed_tells_the_same_story_of_a_grid_twice() -> None:
    stories = []
    for _ in range(2):
        world = GridWorld("twice", GridShape((LIGHT, LIGHT), HAPPENINGS))
        world.begin()
        for _ in range(5):
            world.step()
        stories.append([*world.trace, *world.facts()])
        world.close()
    assert stories[0] == stories[1]
    assert len(stories[0]) > 10
