"""Highly available machines of a host that was lost: started elsewhere, once, and only when the old one can't run them."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from arable.services import deployments, explanations, power
from arable.sim import invariants
from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import AVAILABLE, IMAGE, OFFERING, SHARED, Room
from arable.sim.shared import LENGTH
from arable.store import exports
from arable.wire.machines import DeployIn, StopIn


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("recovery", tmp_path, Room(pods=1, hosts=3, storage=1))
    made.settle_down(3)
    yield made
    made.database.close()


def ask(cloud: Cloud, work: Callable[..., Any], *args: Any) -> Any:
    return cloud.ask(cloud.ground.callers[0], lambda call: work(call, *args))


def deploy(cloud: Cloud, name: str, offering: str = AVAILABLE, **more: Any) -> str:
    wanted = DeployIn(name=name, offering=offering, image=IMAGE, **more)
    made = cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wanted, None)
    cloud.settle_down(8)
    return str(made.machines[0].id)


def rows(cloud: Cloud, query: str, **values: Any) -> list[Any]:
    with cloud.database.read() as tx:
        return [tuple(row) for row in tx.execute(text(query), values)]


def write(cloud: Cloud, statement: str, **values: Any) -> None:
    with cloud.database.write() as tx:
        tx.execute(text(statement), values)


def running(cloud: Cloud) -> dict[str, list[str]]:
    """Where each machine really runs."""
    found: dict[str, list[str]] = {}
    for host, node in cloud.nodes.items():
        for machine, guest in node.hardware.guests.items():
            if guest.awake:
                found.setdefault(machine, []).append(host)
    return found


def host_of(cloud: Cloud, machine: str) -> SimNode:
    (host,) = running(cloud)[machine]
    return cloud.nodes[host]


def declare_down(cloud: Cloud, node: SimNode, *, powered_off: bool = False) -> None:
    write(
        cloud,
        "update host set state = 'down', powered_off = :off where id = :id",
        id=node.id,
        off=powered_off,
    )


def passes(cloud: Cloud, seconds: float) -> None:
    """Time, in small steps, with an eye on what runs."""
    for _ in range(round(seconds)):
        cloud.pass_time(timedelta(seconds=1))
        cloud.control()
        for node in cloud.nodes.values():
            cloud.tend(node)
            cloud.serve(node)
        twice = [machine for machine, hosts in running(cloud).items() if len(hosts) > 1]
        assert not twice


def recovery(cloud: Cloud) -> tuple[str, str, int]:
    """Steps, state and what is pending of the only one."""
    with cloud.database.read() as tx:
        (id_,) = tx.scalars(text("select id from operation where kind = 'host.recover'"))
        steps, state, pending = tx.execute(
            text("select steps, state, pending from operation where id = :id"), {"id": id_}
        ).one()
    return steps, state, pending


def at_rest(cloud: Cloud) -> None:
    hardware = {id_: node.hardware for id_, node in cloud.nodes.items()}
    with cloud.database.read() as tx:
        invariants.always(tx, hardware)
        invariants.at_rest(tx, hardware)
    assert not cloud.shared.mishaps()


def says(cloud: Cloud, machine: str) -> str:
    return "; ".join(ask(cloud, explanations.explain, machine).says)


def test_a_machine_with_shared_disks_starts_by_a_lease_and_its_room_is_reserved(cloud) -> None:
    machine = deploy(cloud, "m")
    (storage,) = cloud.ground.storage
    host = host_of(cloud, machine)
    assert rows(cloud, "select reserved_disk_mib from host where id = :id", id=storage) == [(1024,)]
    assert rows(cloud, "select reserved_disk_mib from host where id = :id", id=host.id) == [(0,)]
    assert rows(cloud, "select state, epoch, holder from export") == [("held", 1, host.id)]
    assert rows(cloud, "select p.kind from volume v join pool p on p.id = v.pool") == [("nbd",)]
    at_rest(cloud)


def test_after_its_host_lost_power_a_machine_runs_on_another_within_a_minute(cloud) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    cloud.power_off(lost)
    passes(cloud, 5)
    declare_down(cloud, lost)
    passes(cloud, 3)  # begun: the next host is told
    assert rows(cloud, "select state, epoch from machine") == [("starting", 2)]
    assert running(cloud) == {}, "the old one's time is not over"
    passes(cloud, LENGTH)
    new = host_of(cloud, machine)
    assert new is not lost
    passes(cloud, 5)
    steps, state, pending = recovery(cloud)
    assert (state, pending) == ("done", 0)
    for step in ("is down", "fenced by lease", "placed: 1 on", "1 running"):
        assert step in steps
    lost.powered = True  # it comes back, with the machine in its ledger
    passes(cloud, 40)
    assert machine not in lost.hardware.guests
    assert not any(pool.seeds for pool in lost.hardware.pools.values())
    told = "select host from manifest_item where kind = 'guest' and body is not null"
    assert rows(cloud, told) == [(new.id,)]
    assert running(cloud) == {machine: [new.id]}
    at_rest(cloud)


def say_silent(cloud: Cloud, node: SimNode) -> None:
    """It is not heard, and nobody could tell more of it."""
    write(cloud, "update host set state = 'silent' where id = :id", id=node.id)


@pytest.mark.parametrize("how", ["frozen", "cut off from all"])
def test_a_machine_whose_lease_ran_out_at_its_storage_leaves_a_host_that_is_merely_silent(
    cloud, how
) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    if how == "frozen":
        lost.frozen = True
    else:
        cloud.cut(lost)
        cloud.shared.runners[lost.id].cut = True
    say_silent(cloud, lost)
    passes(cloud, LENGTH - 12)
    assert rows(cloud, "select host, epoch from machine") == [(lost.id, 1)], "it may run there"
    passes(cloud, 25)
    new = host_of(cloud, machine)
    assert new is not lost
    assert rows(cloud, "select epoch from machine") == [(2,)]
    steps, state, pending = recovery(cloud)
    assert (state, pending) == ("done", 0)
    for step in ("is silent", "1 lease ran out", "placed: 1 on", "1 running"):
        assert step in steps
    lost.frozen = lost.wire.cut = cloud.shared.runners[lost.id].cut = False
    passes(cloud, 40)
    at_rest(cloud)


def test_a_silent_host_whose_leases_are_renewed_keeps_its_machines(cloud) -> None:
    machine = deploy(cloud, "m")
    away = host_of(cloud, machine)
    cloud.cut(away)  # from the management servers alone
    say_silent(cloud, away)
    passes(cloud, 3 * LENGTH)
    assert rows(cloud, "select state from host where id = :id", id=away.id) == [("silent",)]
    assert running(cloud) == {machine: [away.id]}
    assert rows(cloud, "select host, epoch from machine") == [(away.id, 1)]
    assert rows(cloud, "select count(*) from operation where kind = 'host.recover'") == [(0,)]


def test_a_silent_host_in_maintenance_is_left_alone_whatever_ran_out(cloud) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    lost.frozen = True
    say_silent(cloud, lost)
    write(cloud, "update host set maintenance = true where id = :id", id=lost.id)
    passes(cloud, LENGTH + 20)
    assert rows(cloud, "select host, epoch from machine") == [(lost.id, 1)]


def test_a_machine_whose_lease_its_silent_host_never_took_is_started_elsewhere(cloud) -> None:
    deploy(cloud, "router")  # it waits for its network; the next one need not
    for host in cloud.ground.hosts:
        cloud.nodes[host].frozen = True  # nobody reads what it is to run
    machine = deploy(cloud, "m")
    ((host,),) = rows(cloud, "select host from machine where id = :id", id=machine)
    cloud.power_off(cloud.nodes[host])
    say_silent(cloud, cloud.nodes[host])
    for other in set(cloud.ground.hosts) - {host}:
        cloud.nodes[other].frozen = False
    passes(cloud, 20)
    (new,) = running(cloud)[machine]
    assert new != host


def test_nobody_waits_for_a_host_that_is_known_to_be_without_power(cloud) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    cloud.power_off(lost)
    declare_down(cloud, lost, powered_off=True)
    passes(cloud, 10)
    assert host_of(cloud, machine) is not lost
    steps, state, _ = recovery(cloud)
    assert "fenced by power" in steps
    assert state == "done"
    with cloud.database.read() as tx:
        assert exports.unread_fences(tx, lost.id) == 0


def test_a_host_that_is_found_without_power_later_is_not_waited_for_from_then_on(cloud) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    cloud.power_off(lost)
    declare_down(cloud, lost)
    passes(cloud, 4)
    assert running(cloud) == {}
    declare_down(cloud, lost, powered_off=True)
    passes(cloud, 10)
    assert host_of(cloud, machine) is not lost


def test_a_fence_is_unread_until_the_storage_host_has_it_in_force(cloud) -> None:
    deploy(cloud, "m")
    (storage,) = (cloud.nodes[host] for host in cloud.ground.storage)
    lost = host_of(cloud, next(iter(running(cloud))))
    cloud.power_off(lost)
    declare_down(cloud, lost, powered_off=True)
    cloud.cut(storage)
    passes(cloud, 4)
    with cloud.database.read() as tx:
        assert exports.unread_fences(tx, lost.id) == 1
    storage.wire.cut = False
    passes(cloud, 4)
    with cloud.database.read() as tx:
        assert exports.unread_fences(tx, lost.id) == 0


@pytest.mark.parametrize("how", ["frozen", "cut off", "well"])
def test_a_host_that_is_wrongly_given_up_loses_its_machine_before_another_starts_it(
    cloud, how
) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    if how == "frozen":
        lost.frozen = True
    elif how == "cut off":
        cloud.cut(lost)
    declare_down(cloud, lost)
    cloud.control()
    passes(cloud, LENGTH + 15)
    assert host_of(cloud, machine) is not lost
    lost.frozen = lost.wire.cut = False
    passes(cloud, 30)
    at_rest(cloud)


def test_a_host_that_comes_back_before_its_machines_were_given_away_keeps_them(cloud) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    others = [host for host in cloud.ground.hosts if host != lost.id]
    for host in others:  # nobody else has room
        write(cloud, "update host set maintenance = true where id = :id", id=host)
    declare_down(cloud, lost)
    cloud.control()
    assert rows(cloud, "select state, host, epoch from machine") == [("running", lost.id, 1)]
    assert "its host is lost" in says(cloud, machine)
    passes(cloud, 10)
    assert running(cloud) == {machine: [lost.id]}
    assert rows(cloud, "select state from host where id = :id", id=lost.id) == [("up",)]
    assert rows(cloud, "select count(*) from operation where kind = 'host.recover'") == [(0,)]
    assert "lost" not in says(cloud, machine)


def test_machines_that_are_not_highly_available_stay_with_their_host_and_say_why(cloud) -> None:
    local, movable = deploy(cloud, "local", OFFERING), deploy(cloud, "movable", SHARED)
    for node in {host_of(cloud, local).id: 0, host_of(cloud, movable).id: 0}:
        cloud.power_off(cloud.nodes[node])
        declare_down(cloud, cloud.nodes[node])
    passes(cloud, 10)
    assert running(cloud) == {}
    assert "it stays with its host, because its disks are there" in says(cloud, local)
    assert "it stays with its host, because it is not highly available" in says(cloud, movable)


def test_a_machine_waits_for_room_and_runs_as_soon_as_there_is_some(cloud) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    others = [host for host in cloud.ground.hosts if host != lost.id]
    for host in others:
        write(cloud, "update host set maintenance = true where id = :id", id=host)
    cloud.power_off(lost)
    declare_down(cloud, lost)
    passes(cloud, 10)
    assert rows(cloud, "select state, host from machine") == [("running", lost.id)]
    write(cloud, "update host set maintenance = false where id = :id", id=others[0])
    passes(cloud, LENGTH + 5)
    assert running(cloud) == {machine: [others[0]]}


def test_one_on_its_way_that_found_no_room_is_looked_at_again(cloud) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    cloud.power_off(lost)
    declare_down(cloud, lost)
    recovery = "select recovery is not null from machine"
    for _ in range(60):
        if rows(cloud, recovery) == [(1,)]:
            break
        passes(cloud, 1)
    assert rows(cloud, recovery) == [(1,)]
    for node in cloud.nodes.values():
        cloud.cut(node)
    write(cloud, "update machine set state = 'waiting', attention = false")
    passes(cloud, 20)
    assert not cloud.writer.bugs
    cloud.heal()
    passes(cloud, LENGTH + 60)
    assert running(cloud).keys() == {machine}


def test_nothing_is_moved_while_the_host_of_its_disks_is_away(cloud) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    (storage,) = (cloud.nodes[host] for host in cloud.ground.storage)
    cloud.power_off(storage)
    cloud.power_off(lost)
    for node in (storage, lost):
        declare_down(cloud, node)
    passes(cloud, 5)
    assert rows(cloud, "select host, epoch from machine") == [(lost.id, 1)]
    (why,) = rows(cloud, "select why from machine")[0]
    assert "the host of its disks" in why
    storage.powered = True
    passes(cloud, LENGTH + 10)
    assert host_of(cloud, machine) is not lost


def test_a_second_host_that_is_lost_on_the_way_does_not_stop_a_machine_from_coming_back(
    cloud,
) -> None:
    machine = deploy(cloud, "m")
    first = host_of(cloud, machine)
    cloud.power_off(first)
    declare_down(cloud, first)
    passes(cloud, 3)
    ((second,),) = rows(cloud, "select host from machine")
    cloud.power_off(cloud.nodes[second])
    declare_down(cloud, cloud.nodes[second])
    passes(cloud, LENGTH + 10)
    (third,) = set(cloud.ground.hosts) - {first.id, second}
    assert running(cloud) == {machine: [third]}
    assert rows(cloud, "select epoch from machine") == [(3,)]
    states = "select state from operation where kind = 'host.recover'"
    assert rows(cloud, states) == [("done",), ("done",)]


def test_its_owner_may_stop_it_on_the_way(cloud) -> None:
    machine = deploy(cloud, "m")
    lost = host_of(cloud, machine)
    cloud.power_off(lost)
    declare_down(cloud, lost)
    passes(cloud, 3)
    ask(cloud, power.stop, machine, StopIn(force=True))
    passes(cloud, LENGTH + 10)
    assert running(cloud) == {}
    assert rows(cloud, "select state, recovery from machine") == [("stopped", None)]
    assert recovery(cloud)[1] == "done"


def test_a_stopped_machine_starts_anywhere_with_what_is_on_its_disks(cloud) -> None:
    machine = deploy(cloud, "m")
    old = host_of(cloud, machine)
    (storage,) = (cloud.nodes[host] for host in cloud.ground.storage)
    disks = dict(storage.hardware.pools[storage.pool].volumes)
    ask(cloud, power.stop, machine, StopIn(force=True))
    passes(cloud, 10)
    assert rows(cloud, "select state from export") in ([], [("free",)])
    assert not any(p.seeds for node in cloud.nodes.values() for p in node.hardware.pools.values())
    write(cloud, "update host set maintenance = true where id = :id", id=old.id)
    ask(cloud, power.start, machine)
    passes(cloud, 15)
    assert host_of(cloud, machine) is not old
    there = storage.hardware.pools[storage.pool].volumes
    assert [there[id_] is disk for id_, disk in disks.items()] == [True], "made anew, and empty"
    assert rows(cloud, "select epoch from machine") == [(2,)]
    at_rest(cloud)


def test_a_host_that_can_not_start_it_passes_it_on_and_its_disks_are_kept(cloud) -> None:
    machine = deploy(cloud, "m")
    (storage,) = (cloud.nodes[host] for host in cloud.ground.storage)
    disks = dict(storage.hardware.pools[storage.pool].volumes)
    ask(cloud, power.stop, machine, StopIn(force=True))
    passes(cloud, 10)
    for host in cloud.ground.hosts:
        cloud.nodes[host].faults.when = lambda where: where.startswith("before ensure")
    ask(cloud, power.start, machine)
    passes(cloud, 5)
    ((bad,),) = rows(cloud, "select host from machine")
    for host in set(cloud.ground.hosts) - {bad}:
        cloud.nodes[host].faults.when = lambda _where: False
    passes(cloud, 120)
    assert host_of(cloud, machine).id != bad
    erased = "select host from manifest_item where kind = 'scrap' and body is not null"
    assert rows(cloud, erased) == []
    there = storage.hardware.pools[storage.pool].volumes
    assert [there[id_] is disk for id_, disk in disks.items()] == [True], "made anew, and empty"
    assert rows(cloud, "select reserved_disk_mib from host where id = :id", id=storage.id) == [
        (1024,)
    ]


def test_an_expunged_machine_leaves_nothing_on_its_storage_host(cloud) -> None:
    machine = deploy(cloud, "m")
    ask(cloud, power.stop, machine, StopIn(force=True))
    passes(cloud, 10)
    ask(cloud, power.expunge, machine)
    passes(cloud, 15)
    (storage,) = (cloud.nodes[host] for host in cloud.ground.storage)
    assert not storage.hardware.pools[storage.pool].volumes
    assert rows(cloud, "select count(*) from export") == [(0,)]
    assert rows(cloud, "select sum(reserved_disk_mib) from host") == [(0,)]
    at_rest(cloud)


def test_a_restored_copy_learns_the_epoch_of_what_runs_and_gives_out_none_twice(cloud) -> None:
    machine = deploy(cloud, "m")
    copy = cloud.back_up()
    lost = host_of(cloud, machine)
    cloud.power_off(lost)
    declare_down(cloud, lost)
    passes(cloud, LENGTH + 10)
    new = host_of(cloud, machine)
    begun = sum(node.hardware.started for node in cloud.nodes.values())
    lost.powered = True
    cloud.restore(copy)
    passes(cloud, 60)
    assert running(cloud) == {machine: [new.id]}
    assert sum(node.hardware.started for node in cloud.nodes.values()) == begun
    assert rows(cloud, "select host, epoch from machine") == [(new.id, 2)]
    declare_down(cloud, new)
    cloud.power_off(new)
    passes(cloud, LENGTH + 10)
    assert host_of(cloud, machine) is not new
    assert rows(cloud, "select epoch from machine") == [(3,)]


def test_many_machines_of_a_host_come_back_together(cloud) -> None:
    write(
        cloud, "update host set memory_mib = 4096 where id = :id", id=next(iter(cloud.ground.hosts))
    )
    deploy(cloud, "m", count=9)
    by_host: dict[str, int] = {}
    for (host,) in running(cloud).values():
        by_host[host] = by_host.get(host, 0) + 1
    busiest = max(by_host, key=lambda host: by_host[host])
    cloud.power_off(cloud.nodes[busiest])
    declare_down(cloud, cloud.nodes[busiest])
    passes(cloud, LENGTH + 20)
    assert len(running(cloud)) == 9
    _steps, state, _ = recovery(cloud)
    assert state == "done"
    assert f"{by_host[busiest]} highly available" in str(
        rows(cloud, "select text from event where kind = 'host.recovering'")
    )
    at_rest_but_the_lost_host(cloud, busiest)


def at_rest_but_the_lost_host(cloud: Cloud, lost: str) -> None:
    hardware = {id_: node.hardware for id_, node in cloud.nodes.items() if id_ != lost}
    with cloud.database.read() as tx:
        invariants.always(tx, hardware)
