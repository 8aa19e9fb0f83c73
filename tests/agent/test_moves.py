"""A machine moves from one host to another while it runs; nothing is lost, and it never runs twice."""

from dataclasses import replace

import pytest

from agent.leased_world import LENGTH, M, export, guest
from agent.moving_world import Mobile, MovingWorld
from arable.domain.manifest import ExportState, GuestState, MovePhase, Power


@pytest.fixture
def world() -> MovingWorld:
    return MovingWorld()


def started(world: MovingWorld) -> None:
    world.place(1, world.a)
    world.until(world.a.runs)


def ready(world: MovingWorld, source: Mobile, epoch: int = 1, to: int = 2) -> str:
    """Where the other host awaits it."""
    target = world.other(source)
    world.wish_target(source, epoch, to)
    world.until(lambda: (seen := target.move()) is not None and seen.phase is MovePhase.READY)
    found = target.move()
    assert found
    assert found.epoch == to
    return found.address


def moved(world: MovingWorld, source: Mobile, epoch: int = 1, to: int = 2) -> None:
    target = world.other(source)
    world.wish_source(source, epoch, to, ready(world, source, epoch, to))
    world.until(lambda: world.seen().epoch == to)
    world.until(target.runs, 10)
    world.finish(target, to)
    world.pass_(2)


def test_a_machine_moves_and_goes_on_where_it_was(world) -> None:
    started(world)
    moved(world, world.a)
    assert world.b.runs()
    assert world.boots == 1, "it was never started again"
    assert M not in world.a.hardware.guests
    seen = world.seen()
    assert (seen.state, seen.epoch, seen.holder) == (ExportState.HELD, 2, world.b.name)
    assert seen.generation == 21
    world.pass_(5 * LENGTH)
    assert world.b.runs()
    assert world.b.watchdog.killed == 0
    assert world.b.server.guests[M].state is GuestState.RUNNING
    assert world.b.server.guests[M].generation == 21


def test_and_back_again_many_times(world) -> None:
    started(world)
    here, there = world.a, world.b
    for epoch in range(1, 9):
        moved(world, here, epoch, epoch + 1)
        here, there = there, here
    assert world.boots == 1
    assert world.a.watchdog.killed == world.b.watchdog.killed == 0


def test_the_source_runs_on_until_the_target_is_ready_and_was_told_to_it(world) -> None:
    started(world)
    ready(world, world.a)
    world.pass_(3 * LENGTH)
    assert world.a.runs()
    assert world.b.arrives()
    assert world.stood_still < 5


def all_over(world: MovingWorld) -> None:
    """The guest stands still at the source, whose agent is about to have it handed over and does not."""
    started(world)
    world.wish_source(world.a, 1, 2, ready(world, world.a))
    world.until(lambda: (seen := world.a.move()) is not None and seen.phase is MovePhase.MOVING)
    world.a.frozen = True
    world.until(lambda: world.a.hardware.found[M].still)


def test_a_source_that_is_replaced_at_the_end_hands_over_all_the_same(world) -> None:
    all_over(world)
    world.a.frozen = False
    world.a.restart()
    world.until(world.b.runs)
    assert world.boots == 1


def test_a_move_that_is_taken_back_at_the_end_goes_on_at_the_source(world) -> None:
    all_over(world)
    world.take_back(world.a, 1, 2)
    world.until(lambda: world.seen().generation == 25)
    world.took_back(world.a, 1, 2)
    world.a.frozen = False
    world.until(world.a.runs)
    world.pass_(2 * LENGTH)
    assert world.a.runs()
    assert world.boots == 1
    assert M not in world.b.hardware.guests
    assert world.a.move() is None


def test_a_source_that_does_not_know_whether_it_was_handed_over_does_not_run_it(world) -> None:
    all_over(world)
    world.network.lost_answers = lambda host, _address: host == world.a.name
    world.a.frozen = False
    world.until(lambda: world.seen().epoch == 2)
    world.a.restart()
    # Told too early that it shall stay: the storage host knows better.
    world.a.server.wish(guest(1, generation=25))
    world.pass_(LENGTH / 3)
    world.network.lost_answers = lambda _host, _address: False
    world.until(lambda: M not in world.a.hardware.guests)
    assert world.b.runs()
    assert world.boots == 1


@pytest.mark.parametrize("replaced", [False, True])
def test_a_target_that_hears_first_from_others_that_it_has_it_runs_what_was_handed_over(
    world, replaced
) -> None:
    all_over(world)
    world.b.frozen = True
    world.a.frozen = False
    world.until(lambda: world.seen().epoch == 2)
    world.finish(world.b, 2)  # its wish speaks of no move any more
    world.b.frozen = False
    if replaced:
        world.b.restart()
    world.until(world.b.runs)
    world.pass_(2)
    assert world.boots == 1
    assert world.b.server.guests[M].generation == 21


def test_a_copy_is_worthless_to_who_got_the_lease_in_another_way(world) -> None:
    all_over(world)
    world.b.frozen = True
    world.take_back(world.a, 1, 2)
    world.until(lambda: world.seen().generation == 25)
    world.a.server.wish(guest(1, generation=25))
    world.a.frozen = False
    world.until(world.a.runs)
    world.pass_(10)
    world.cut.add(world.a.name)
    world.storage.server.wish(export(2, world.b.name, generation=30))
    world.b.frozen = False
    world.pass_(2 * LENGTH)
    assert world.b.runs()
    assert world.boots == 2, "started anew: its old copy knows nothing of those ten seconds"


def test_a_copy_that_is_not_complete_is_worthless_too(world) -> None:
    all_over(world)
    world.b.hardware.crash(M)
    world.pass_(3)
    assert world.b.arrives(), "another one waits"
    world.a.frozen = False
    world.until(world.b.runs)
    assert world.boots == 2


def test_a_target_that_dies_gives_back_a_guest_that_stood_still_meanwhile(world) -> None:
    world.rails.live = False
    started(world)
    world.wish_source(world.a, 1, 2, ready(world, world.a))
    world.until(lambda: (seen := world.a.move()) is not None and seen.phase is MovePhase.MOVING)
    assert not world.a.runs()
    world.b.power(on=False)
    world.until(world.a.runs)
    assert world.boots == 1


def test_a_target_that_dies_on_the_way_leaves_the_guest_where_it_is_and_says_why(world) -> None:
    started(world)
    world.wish_source(world.a, 1, 2, ready(world, world.a))
    world.until(lambda: (seen := world.a.move()) is not None and seen.phase is MovePhase.MOVING)
    world.b.power(on=False)
    world.until(lambda: (seen := world.a.move()) is not None and seen.phase is MovePhase.FAILED)
    found = world.a.move()
    assert found
    assert found.told
    assert world.a.runs()
    world.pass_(2 * LENGTH)
    assert world.a.runs()
    assert world.boots == 1


def test_a_source_that_dies_at_the_end_is_fenced_and_the_machine_starts_anew(world) -> None:
    all_over(world)
    world.a.power(on=False)
    world.place(3, world.b)
    world.pass_(LENGTH + 10)
    assert world.b.runs()
    assert world.boots == 2


def test_a_move_that_takes_too_long_is_given_up(world) -> None:
    world.rails.seconds = 1e9
    started(world)
    world.wish_source(world.a, 1, 2, ready(world, world.a), seconds=0)
    world.until(lambda: (seen := world.a.move()) is not None and seen.phase is MovePhase.MOVING)
    world.a.mover._moves._hardware.guests[M].passage = replace(
        world.a.hardware.guests[M].passage, seconds=5.0
    )
    world.until(lambda: (seen := world.a.move()) is not None and seen.phase is MovePhase.FAILED)
    assert world.a.runs()


def test_management_servers_may_be_away_from_the_beginning_to_the_end(world) -> None:
    started(world)
    world.wish_source(world.a, 1, 2, ready(world, world.a))
    world.tick()
    for host in (world.storage, world.a, world.b):
        host.step_connected = host.step
        host.step = lambda host=host, **_but: host.step_connected(connected=False)
    world.until(world.b.runs)
    world.pass_(3 * LENGTH)
    assert world.b.runs()
    assert world.boots == 1


def test_a_machine_that_is_off_moves_by_a_new_epoch_alone(world) -> None:
    started(world)
    world.a.server.wish(guest(1, generation=2, power=Power.OFF))
    world.until(lambda: world.seen().state is ExportState.FREE)
    world.storage.server.wish(export(2, world.b.name))
    world.b.server.wish(guest(2))
    world.a.server.wish()
    world.until(world.b.runs, 5)


@pytest.mark.parametrize("who", ["a", "b", "storage", "all"])
def test_agents_that_are_replaced_at_any_step_cost_nothing(who) -> None:
    steps = 0
    for at in range(40):
        world = MovingWorld(seconds=1.0)
        started(world)
        hosts = {"a": [world.a], "b": [world.b], "storage": [world.storage]}
        chosen = hosts.get(who, [world.a, world.b, world.storage])
        world.wish_target(world.a, 1, 2)
        for step in range(60):
            if step == at:
                for host in chosen:
                    host.restart()
            there = world.b.move()
            if there and there.address:
                world.wish_source(world.a, 1, 2, there.address)
            world.tick(0.1)
            if world.b.runs():
                break
        steps = max(steps, step)
        world.until(world.b.runs, 60)
        world.finish(world.b, 2)
        world.pass_(3)
        assert world.b.runs(), at
        assert world.boots == 1, at
        assert world.a.watchdog.killed == world.b.watchdog.killed == 0
        if at > steps:
            break
    assert 5 < steps < at, "the last of them was after the end, so all were tried"
