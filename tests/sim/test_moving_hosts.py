"""Machines that move, hosts that are emptied, and all that breaks meanwhile, under the dice."""

import pytest

from arable.sim.asks import SHARING
from arable.sim.ground import Room
from arable.sim.happenings import HAPPENINGS
from arable.sim.world import Shape, World

ROOMS = (
    Room(pods=1, hosts=3, storage=1, host_memory_mib=8192),
    Room(pods=2, hosts=2, storage=1, host_memory_mib=8192, servers=2),
)
TROUBLES = {"moves", "guests", "power", "agents"}


@pytest.mark.parametrize(("seed", "room"), [("6", ROOMS[0]), ("6", ROOMS[1])])
def test_whatever_breaks_a_machine_that_moves_runs_once_and_never_from_an_old_copy(
    seed, room
) -> None:
    shape = Shape(room, tuple(each for each in HAPPENINGS if each.kind in TROUBLES), SHARING)
    world = World(seed, shape)
    world.run(120)
    assert world.moved
