"""A machine moves to another host while it runs, or stays where it is: row by row of docs/decisions/0008."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from test_recovery import (
    ask,
    at_rest,
    declare_down,
    deploy,
    host_of,
    passes,
    rows,
    running,
    says,
    write,
)

from arable.controllers import repair
from arable.domain.errors import BadInput, Conflict
from arable.services import explanations, hosts, machines, moving, operations, power
from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import OFFERING, SHARED, Room
from arable.sim.shared import LENGTH
from arable.wire.hosts import HostChange
from arable.wire.machines import MachineChange, MoveIn, StopIn
from arable.wire.operations import OperationWaitQuery


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("moves", tmp_path, Room(pods=1, hosts=3, storage=1))
    made.settle_down(3)
    yield made
    made.database.close()


def operate(cloud: Cloud, verb: Any, *args: Any, **call: Any) -> Any:
    return cloud.ask(cloud.ground.operator, lambda made: verb(made, *args), **call)


def refused(cloud: Cloud, verb: Any, *args: Any) -> str:
    with pytest.raises((Conflict, BadInput)) as error:
        operate(cloud, verb, *args)
    return str(error.value.public)


def begun(cloud: Cloud, machine: str, **to: Any) -> str:
    """The operation."""
    return str(operate(cloud, moving.move, machine, MoveIn(**to)).id)


def stage(cloud: Cloud) -> str:
    ((now,),) = rows(cloud, "select stage from move")
    return str(now)


def until(cloud: Cloud, wanted: str, seconds: int = 60) -> None:
    for _ in range(seconds):
        if stage(cloud) == wanted:
            return
        passes(cloud, 1)
    raise AssertionError(f"it is {stage(cloud)}, and never {wanted}")


def outcome(cloud: Cloud, operation: str) -> tuple[str, str]:
    """State, and steps or error."""
    shown = operate(cloud, operations.get, operation, OperationWaitQuery())
    steps = " / ".join(step.text for step in shown.steps)
    return shown.state, shown.error.detail if shown.error else steps


def target(cloud: Cloud) -> SimNode:
    ((host,),) = rows(cloud, "select target from move")
    return cloud.nodes[host]


def started(cloud: Cloud) -> int:
    return sum(node.hardware.started for node in cloud.nodes.values())


def storage(cloud: Cloud) -> SimNode:
    (host,) = cloud.ground.storage
    return cloud.nodes[host]


def agrees(cloud: Cloud) -> None:
    """The slow check finds nothing to put right."""
    now = cloud.clock.now()
    with cloud.database.write() as tx:
        letters = (now + timedelta(seconds=repair.SECONDS * n) for n in range(36))
        assert not sum(repair.check(tx, at) for at in letters)


def test_it_goes_to_another_host_without_being_started_anew_and_all_of_it_is_shown(cloud) -> None:
    machine = deploy(cloud, "m")
    old, before = host_of(cloud, machine), started(cloud)
    operation = begun(cloud, machine)
    for wanted in ("preparing", "moving"):
        until(cloud, wanted)
        agrees(cloud)
        held = rows(cloud, "select machines, reserved_memory_mib from host where machines > 0")
        assert held == [(1, 256), (1, 256)], "room on both"
        assert wanted in says_to_operators(cloud, machine)
        assert "is about to go to another host, and runs meanwhile" in says(cloud, machine)
        shown = operate(cloud, operations.get, operation, OperationWaitQuery())
        assert shown.result["stage"] == wanted
    until(cloud, "over")
    passes(cloud, 5)
    new = host_of(cloud, machine)
    assert new is not old
    assert started(cloud) == before
    state, steps = outcome(cloud, operation)
    assert state == "done"
    names = dict(rows(cloud, "select id, name from host"))
    for step in (f"goes from {names[old.id]} to {names[new.id]}", "is ready", "runs on"):
        assert step in steps
    assert rows(cloud, "select sum(machines), sum(reserved_memory_mib) from host") == [(1, 256)]
    passes(cloud, 20)
    agrees(cloud)
    assert not [seed for pool in old.hardware.pools.values() for seed in pool.seeds]
    assert rows(cloud, "select count(*) from event where kind = 'machine.moved'") == [(1,)]
    at_rest(cloud)


def says_to_operators(cloud: Cloud, machine: str) -> str:
    return "; ".join(operate(cloud, explanations.explain, machine).says)


def test_it_goes_to_the_host_that_was_asked_for_and_asking_twice_is_asking_once(cloud) -> None:
    machine = deploy(cloud, "m")
    old = host_of(cloud, machine)
    to = max(set(cloud.ground.hosts) - {old.id})
    operation = begun(cloud, machine, to=to)
    assert begun(cloud, machine, to=to) == operation
    assert begun(cloud, machine) == operation
    assert "cancel that first" in refused(cloud, moving.move, machine, MoveIn(to=old.id))
    until(cloud, "over")
    passes(cloud, 5)
    assert host_of(cloud, machine).id == to
    assert outcome(cloud, begun(cloud, machine, to=to))[0] == "done", "it is there"
    at_rest(cloud)


def test_what_can_not_move_is_refused_with_the_reason(cloud) -> None:
    local, movable = deploy(cloud, "local", OFFERING), deploy(cloud, "movable", SHARED)
    assert "its disks are on its host" in refused(cloud, moving.move, local, MoveIn())
    other = next(iter(set(cloud.ground.hosts) - {host_of(cloud, movable).id}))
    write(cloud, "update host set facts = '{}' where id = :id", id=other)
    told = refused(cloud, moving.move, movable, MoveIn(to=other))
    assert "its hypervisor or processor is another one" in told
    told = refused(cloud, moving.move, movable, MoveIn(to=storage(cloud).id))
    assert "runs no machines" in told
    assert "there is no host nowhere" in refused(cloud, moving.move, movable, MoveIn(to="nowhere"))
    assert "is not on its way" in refused(cloud, moving.cancel, movable)
    ask(cloud, power.stop, movable, StopIn(force=True))
    passes(cloud, 10)
    assert "only one that runs is moved" in refused(cloud, moving.move, movable, MoveIn())
    assert rows(cloud, "select count(*) from move") == [(0,)]


def test_a_dry_run_changes_nothing(cloud) -> None:
    machine = deploy(cloud, "m")
    operate(cloud, moving.move, machine, MoveIn(), dry_run=True)
    assert rows(cloud, "select count(*) from move") == [(0,)]


def test_without_room_anywhere_the_operation_says_why(cloud) -> None:
    machine = deploy(cloud, "m")
    old = host_of(cloud, machine)
    write(cloud, "update host set maintenance = true where id <> :id", id=old.id)
    state, told = outcome(cloud, _ended(cloud, begun(cloud, machine)))
    assert state == "failed"
    assert "1 have it now, 2 take no machines now" in told
    other = next(iter(set(cloud.ground.hosts) - {old.id}))
    _, told = outcome(cloud, _ended(cloud, begun(cloud, machine, to=other)))
    assert "can't take it: is in maintenance" in told
    at_rest(cloud)


def _ended(cloud: Cloud, operation: str) -> str:
    until(cloud, "over")
    return operation


def test_no_more_move_at_a_time_than_the_operator_lets(cloud) -> None:
    deploy(cloud, "m", count=5)
    busiest = max(cloud.ground.hosts, key=lambda host: len(on(cloud, host)))
    limits = (
        "insert into setting (name, value) values ('moves_per_host', '1'), ('balance', '\"off\"')"
    )
    write(cloud, limits)
    for machine in on(cloud, busiest):
        begun(cloud, machine)
    most = 0
    for _ in range(60):
        passes(cloud, 1)
        ((now,),) = rows(cloud, "select count(*) from move where stage not in ('waiting', 'over')")
        most = max(most, now)
    assert most == 1
    assert not on(cloud, busiest)
    at_rest(cloud)


def on(cloud: Cloud, host: str) -> list[str]:
    return [machine for machine, there in running(cloud).items() if there == [host]]


@pytest.mark.parametrize("at", ["preparing", "moving"])
def test_one_that_is_called_off_runs_on_where_it_was(cloud, at) -> None:
    machine = deploy(cloud, "m")
    old, before = host_of(cloud, machine), started(cloud)
    operation = begun(cloud, machine)
    until(cloud, at)
    assert operate(cloud, moving.cancel, machine).id == operation
    until(cloud, "over")
    assert outcome(cloud, operation) == ("failed", "it was called off")
    passes(cloud, 10)
    assert host_of(cloud, machine) is old
    assert started(cloud) == before
    assert rows(cloud, "select sum(machines) from host") == [(1,)]
    agrees(cloud)
    at_rest(cloud)


def test_one_that_has_arrived_before_it_could_be_called_off_stays_there(cloud) -> None:
    machine = deploy(cloud, "m")
    old = host_of(cloud, machine)
    operation = begun(cloud, machine)
    until(cloud, "moving")
    cloud.cut(storage(cloud))  # it says nothing, and hears nothing; leases are another matter
    passes(cloud, 8)
    assert host_of(cloud, machine) is not old
    operate(cloud, moving.cancel, machine)
    passes(cloud, 3)
    assert stage(cloud) == "returning"
    storage(cloud).wire.cut = False
    until(cloud, "over")
    assert outcome(cloud, operation)[0] == "done"
    passes(cloud, 10)
    assert rows(cloud, "select host from machine") == [(target(cloud).id,)]
    at_rest(cloud)


@pytest.mark.parametrize("at", ["preparing", "moving"])
def test_its_owner_comes_first(cloud, at) -> None:
    machine = deploy(cloud, "m")
    begun(cloud, machine)
    until(cloud, at)
    ask(cloud, power.stop, machine, StopIn())
    passes(cloud, 20)
    assert running(cloud) == {}
    assert rows(cloud, "select state, host from machine") == [("stopped", None)]
    assert stage(cloud) == "over"
    assert rows(cloud, "select sum(machines) from host") == [(0,)]
    ask(cloud, power.start, machine)
    passes(cloud, 20)
    host_of(cloud, machine)
    at_rest(cloud)


def test_a_reboot_or_another_name_on_the_way_is_not_lost(cloud) -> None:
    machine = deploy(cloud, "m")
    begun(cloud, machine)
    until(cloud, "moving")
    ask(cloud, power.reboot, machine)
    ask(cloud, machines.update, machine, MachineChange(name="other"))
    passes(cloud, 20)
    assert rows(cloud, "select boots, name, attention from machine") == [(2, "other", False)]
    assert rows(cloud, "select count(*) from operation where state = 'running'") == [(0,)]
    agrees(cloud)
    at_rest(cloud)


def test_one_that_shuts_itself_down_on_the_way_stays_off(cloud) -> None:
    machine = deploy(cloud, "m")
    old = host_of(cloud, machine)
    begun(cloud, machine)
    until(cloud, "moving")
    passes(cloud, 1)
    old.hardware.power_off_by_guest(machine)  # type: ignore[arg-type]
    passes(cloud, 20)
    assert running(cloud) == {}
    assert rows(cloud, "select state, wish, host from machine") == [("stopped", "stopped", None)]
    assert rows(cloud, "select sum(machines) from host") == [(0,)]
    at_rest(cloud)


def test_after_its_target_is_gone_it_runs_on_and_may_try_again(cloud) -> None:
    machine = deploy(cloud, "m")
    old, before = host_of(cloud, machine), started(cloud)
    operation = begun(cloud, machine)
    until(cloud, "moving")
    lost = target(cloud)
    cloud.power_off(lost)
    declare_down(cloud, lost)
    until(cloud, "over")
    assert outcome(cloud, operation)[0] == "failed"
    passes(cloud, 5)
    assert host_of(cloud, machine) is old
    assert started(cloud) == before
    begun(cloud, machine)
    until(cloud, "over")
    assert host_of(cloud, machine) not in (old, lost)
    lost.powered = True
    passes(cloud, 30)
    assert rows(cloud, "select epoch from machine") == [(3,)], "no epoch is offered twice"
    at_rest(cloud)


def test_a_source_that_is_lost_on_the_way_is_fenced_when_the_move_is_taken_back(cloud) -> None:
    machine = deploy(cloud, "m")
    old = host_of(cloud, machine)
    begun(cloud, machine)
    until(cloud, "moving")
    cloud.power_off(old)
    declare_down(cloud, old)
    passes(cloud, LENGTH + 15)
    assert host_of(cloud, machine) is not old
    assert stage(cloud) == "over"
    old.powered = True
    passes(cloud, 30)
    at_rest(cloud)


def test_a_host_that_is_lost_after_the_handing_over_is_a_lost_host_like_any(cloud) -> None:
    machine = deploy(cloud, "m")
    begun(cloud, machine)
    until(cloud, "over")
    new = target(cloud)
    cloud.power_off(new)
    declare_down(cloud, new)
    passes(cloud, LENGTH + 15)
    assert host_of(cloud, machine) is not new
    new.powered = True
    passes(cloud, 30)
    at_rest(cloud)


def test_a_wire_that_breaks_costs_nothing_but_the_attempt(cloud) -> None:
    machine = deploy(cloud, "m")
    old, before = host_of(cloud, machine), started(cloud)
    cloud.shared.rails.cut = lambda _source, _target: True
    operation = begun(cloud, machine)
    until(cloud, "over")
    state, told = outcome(cloud, operation)
    assert (state, "the connection was lost" in told) == ("failed", True)
    passes(cloud, 5)
    assert (host_of(cloud, machine), started(cloud)) == (old, before)
    assert rows(cloud, "select tries from move") == [(1,)]
    at_rest(cloud)


def test_without_management_servers_it_goes_on_to_its_end(cloud) -> None:
    machine = deploy(cloud, "m")
    old = host_of(cloud, machine)
    begun(cloud, machine)
    until(cloud, "moving")
    passes(cloud, 1)
    for _ in range(10):
        cloud.pass_time(timedelta(seconds=1))
        for node in cloud.nodes.values():
            cloud.tend(node)
    assert host_of(cloud, machine) is not old
    cloud.restart_server()
    passes(cloud, 10)
    assert stage(cloud) == "over"
    at_rest(cloud)


@pytest.mark.parametrize("at", ["preparing", "moving", "over"])
def test_a_copy_that_was_made_on_the_way_and_is_restored_finds_it_where_it_is(cloud, at) -> None:
    machine = deploy(cloud, "m")
    begun(cloud, machine)
    until(cloud, at)
    copy = cloud.back_up()
    until(cloud, "over")
    passes(cloud, 10)
    there, before = host_of(cloud, machine), started(cloud)
    cloud.restore(copy)
    passes(cloud, 60)
    assert (host_of(cloud, machine), started(cloud)) == (there, before)
    assert rows(cloud, "select host, state from machine") == [(there.id, "running")]
    assert rows(cloud, "select sum(machines) from host") == [(1,)]
    at_rest(cloud)


def maintain(cloud: Cloud, host: str, *, on: bool = True) -> None:
    operate(cloud, hosts.update, host, HostChange(maintenance=on))


def test_a_host_in_maintenance_is_emptied_and_names_what_stays(cloud) -> None:
    local = deploy(cloud, "local", OFFERING)
    host = host_of(cloud, local).id
    write(
        cloud,
        "update host set maintenance = true where id <> :id and roles like '%compute%'",
        id=host,
    )
    movable = [deploy(cloud, f"m{n}", SHARED) for n in range(3)]
    write(cloud, "update host set maintenance = false")
    before = started(cloud)
    maintain(cloud, host)
    passes(cloud, 40)
    assert on(cloud, host) == [local]
    assert started(cloud) == before
    assert len(running(cloud)) == 1 + len(movable)
    shown = operate(cloud, hosts.get, host)
    assert [(one.name, one.leaves, one.told) for one in shown.staying] == [
        ("local", False, "its disks are on its host")
    ]
    ((id_, state),) = rows(cloud, "select id, state from operation where kind = 'host.drain'")
    assert state == "done"
    _, steps = outcome(cloud, id_)
    assert "3 machines are to leave it" in steps
    assert "1 stay (local): 1 because its disks are on its host" in steps
    at_rest(cloud)


def test_out_of_maintenance_nobody_else_sets_out(cloud) -> None:
    deploy(cloud, "m", count=3)
    host = max(cloud.ground.hosts, key=lambda one: len(on(cloud, one)))
    others = set(cloud.ground.hosts) - {host}
    for each in others:
        write(cloud, "update host set maintenance = true where id = :id", id=each)
    maintain(cloud, host)
    passes(cloud, 5)
    staying = operate(cloud, hosts.get, host).staying
    assert [one.told for one in staying if "take no machines now" in one.told] == [
        one.told for one in staying
    ]
    assert staying
    for each in cloud.ground.hosts:
        maintain(cloud, each, on=False)
    passes(cloud, 5)
    assert rows(cloud, "select distinct state from operation where kind = 'host.drain'") == [
        ("failed",)
    ]
    assert rows(cloud, "select count(*) from move where stage <> 'over'") == [(0,)]
    at_rest(cloud)


def crowded(cloud: Cloud) -> str:
    """A host with most of the machines."""
    host = max(cloud.ground.hosts)
    write(
        cloud,
        "update host set maintenance = true where id <> :id and roles like '%compute%'",
        id=host,
    )
    deploy(cloud, "m", SHARED, count=6)
    write(cloud, "update host set maintenance = false")
    assert len(on(cloud, host)) == 6
    return host


def test_a_host_with_most_to_do_sends_some_to_others_until_that_is_enough(cloud) -> None:
    crowded(cloud)
    before = started(cloud)
    passes(cloud, 400)
    counts = sorted(len(on(cloud, each)) for each in cloud.ground.hosts)
    assert (counts, started(cloud)) == ([1, 2, 3], before)
    moved = rows(cloud, "select count(*) from event where kind = 'machine.moved'")
    passes(cloud, 300)
    assert rows(cloud, "select count(*) from event where kind = 'machine.moved'") == moved
    assert moved == [(3,)]
    assert rows(cloud, "select distinct why from move") == [("balance",)]
    at_rest(cloud)


def test_loads_are_left_as_they_are_if_the_operator_wants_that(cloud) -> None:
    write(cloud, "insert into setting (name, value) values ('balance', '\"off\"')")
    host = crowded(cloud)
    passes(cloud, 150)
    assert len(on(cloud, host)) == 6
    assert rows(cloud, "select count(*) from move") == [(0,)]
