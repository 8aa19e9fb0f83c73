"""Whole regions and their grid manager under the dice. `make world GRID=1 SEEDS=…` plays longer stories."""

from arable.sim.grid_happenings import HAPPENINGS
from arable.sim.grid_world import GridShape, GridWorld
from arable.sim.ground import Room

LIGHT = Room(pods=1, hosts=1, host_memory_mib=4096)
STEPS = 4


def test_whatever_happens_between_regions_all_comes_to_rest_and_a_seed_tells_it_twice() -> None:
    first, second = (
        GridWorld("two regions", GridShape((LIGHT, LIGHT), HAPPENINGS, away=True)) for _ in range(2)
    )
    first.run(STEPS)
    second.begin()
    for _ in range(STEPS):
        second.step()
    told = list(second.trace)
    assert not list(second.watch.look())
    for region in second.grid.regions.values():
        with region.database.write() as tx:
            tx.exec_driver_sql("update image_version set arriving = true")
    assert any("the last copy" in each for each in second.watch.look()), "it would be seen"
    second.close()
    assert told == list(first.trace)[: len(told)]
    assert len(told) >= STEPS
