"""Hosts that will never come back: what they had is given up, and the cloud forgets them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_recovery import ask, declare_down, deploy, host_of, passes, rows, running, says, write

from arable.domain.access import Permission, Rank
from arable.domain.errors import Conflict
from arable.domain.ids import HostId
from arable.services import moving, power, removals
from arable.sim import invariants
from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import AVAILABLE, OFFERING, SHARED, Room
from arable.wire.machines import DestroyIn, MoveIn


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("removed", tmp_path, Room(pods=1, hosts=3, storage=1))
    made.settle_down(3)
    write(made, """update host set roles = '["compute", "routing"]' where roles like '%compute%'""")
    yield made
    made.database.close()


def only(cloud: Cloud, host: str) -> None:
    """Everything new comes to this one."""
    write(cloud, "update host set maintenance = (id <> :id) where roles like '%compute%'", id=host)


def anywhere(cloud: Cloud) -> None:
    write(cloud, "update host set maintenance = false")


def remove(cloud: Cloud, node: SimNode) -> None:
    somebody = cloud.ground.callers[0]
    operator = replace(somebody, rank=Rank.OPERATOR, permissions=frozenset(Permission))
    cloud.ask(operator, lambda call: removals.remove_lost(call, HostId(node.id)))


def test_what_was_on_a_host_that_never_comes_back_is_given_up_and_the_host_forgotten(cloud) -> None:
    lost = cloud.nodes[next(iter(cloud.ground.hosts))]
    only(cloud, lost.id)
    local, movable = deploy(cloud, "local", OFFERING), deploy(cloud, "movable", SHARED)
    available, erased = deploy(cloud, "available", AVAILABLE), deploy(cloud, "erased", OFFERING)
    assert host_of(cloud, local) is host_of(cloud, available) is lost
    anywhere(cloud)
    ask(cloud, power.destroy, erased, DestroyIn(expunge=True))
    cloud.power_off(lost)
    declare_down(cloud, lost)
    remove(cloud, lost)
    passes(cloud, 45)
    assert rows(cloud, "select id from host where id = :id", id=lost.id) == []
    for table, column in (
        ("manifest_item", "host"),
        ("network_presence", "host"),
        ("pool", "host"),
    ):
        assert not rows(cloud, f"select * from {table} where {column} = :id", id=lost.id), table
    states = dict(rows(cloud, "select id, state from machine"))
    assert states == {local: "error", movable: "stopped", available: "running"}
    assert "its disks were lost with their host" in says(cloud, local)
    assert "it can be started again" in says(cloud, movable)
    assert rows(cloud, "select count(*) from operation where state = 'running'") == [(0,)]
    for machine in (local, movable):
        ask(cloud, power.start, machine)
    passes(cloud, 30)
    assert set(running(cloud)) == {local, movable, available}
    hardware = {id_: node.hardware for id_, node in cloud.nodes.items() if node is not lost}
    with cloud.database.read() as tx:
        invariants.always(tx, hardware)
        invariants.at_rest(tx, hardware)
    assert not cloud.shared.mishaps()


def test_a_removed_host_is_let_in_no_more_and_its_networks_vlan_is_free_when_it_is_gone(
    cloud,
) -> None:
    lost = cloud.nodes[next(iter(cloud.ground.hosts))]
    only(cloud, lost.id)
    machine = deploy(cloud, "m", OFFERING)
    anywhere(cloud)
    declare_down(cloud, lost)
    lost.frozen = True
    remove(cloud, lost)
    lost.frozen = False  # it is quite well, and asks to be let in
    for _ in range(20):
        passes(cloud, 1)
        assert rows(cloud, "select state from host where id = :id", id=lost.id) in ([], [("down",)])
    assert rows(cloud, "select id from host where id = :id", id=lost.id) == []
    assert rows(cloud, "select state from machine where id = :id", id=machine) == [("error",)]


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_host_that_a_machine_was_about_to_leave_or_to_go_to_is_removed_as_well(
    cloud, end
) -> None:
    machine = deploy(cloud, "m", AVAILABLE)
    cloud.ask(cloud.ground.operator, lambda call: moving.move(call, machine, MoveIn()))
    for _ in range(60):
        if rows(cloud, "select 1 from move where stage = 'moving'"):
            break
        passes(cloud, 1)
    ((host,),) = rows(cloud, f"select {end} from move where stage = 'moving'")
    lost = cloud.nodes[host]
    cloud.power_off(lost)
    declare_down(cloud, lost)
    remove(cloud, lost)
    passes(cloud, 90)
    assert rows(cloud, "select id from host where id = :id", id=lost.id) == []
    assert set(running(cloud)) == {machine}
    assert rows(cloud, "select stage from move") == [("over",)]
    hardware = {id_: node.hardware for id_, node in cloud.nodes.items() if node is not lost}
    with cloud.database.read() as tx:
        invariants.always(tx, hardware)
        invariants.at_rest(tx, hardware)
    assert not cloud.shared.mishaps()


def test_only_a_host_that_is_down_can_be_removed_as_lost(cloud) -> None:
    lost = cloud.nodes[next(iter(cloud.ground.hosts))]
    for state in ("up", "silent"):
        write(cloud, "update host set state = :state where id = :id", state=state, id=lost.id)
        with pytest.raises(Conflict, match=f"the host is {state}"):
            remove(cloud, lost)


def test_a_storage_host_with_disks_of_machines_elsewhere_is_not_removed(cloud) -> None:
    deploy(cloud, "m", SHARED)
    (storage,) = (cloud.nodes[host] for host in cloud.ground.storage)
    declare_down(cloud, storage)
    with pytest.raises(Conflict, match="1 disks in its shared pool"):
        remove(cloud, storage)
