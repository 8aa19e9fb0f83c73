"""An older copy of the database is restored, and the world has gone on: nothing that runs is lost, nothing runs twice."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from arable.domain.errors import Unavailable
from arable.domain.manifest import ItemKind
from arable.services import deployments, explanations, networks, operations, power
from arable.sim import invariants
from arable.sim.cloud import Cloud
from arable.sim.ground import IMAGE, OFFERING, Room
from arable.sim.happenings import HAPPENINGS
from arable.sim.world import ROOMS, Shape, World
from arable.store import wishes
from arable.wire.machines import DeployIn, DestroyIn, NicIn, RecoverIn, StopIn
from arable.wire.networks import NetworkIn
from arable.wire.operations import OperationOut, OperationWaitQuery


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("copies", tmp_path, Room(pods=1, hosts=3))
    made.settle_down(3)
    yield made
    made.database.close()


def ask(cloud: Cloud, work: Callable[..., Any], *args: Any) -> Any:
    return cloud.ask(cloud.ground.callers[0], lambda call: work(call, *args))


def deploy(cloud: Cloud, name: str, **more: Any) -> str:
    wanted = DeployIn(name=name, offering=OFFERING, image=IMAGE, **more)
    caller = cloud.ground.callers[0]
    made = cloud.ask_batch(caller, deployments.deploy_batch, wanted, None)
    cloud.settle_down(10)
    return str(made.machines[0].id)


def running(cloud: Cloud) -> dict[str, str]:
    """What really runs, and where."""
    return {
        str(machine): str(host)
        for host, node in cloud.nodes.items()
        for machine, guest in node.hardware.guests.items()
        if guest.runs is not None
    }


def starts(cloud: Cloud) -> int:
    return sum(node.hardware.started for node in cloud.nodes.values())


def disks(cloud: Cloud) -> set[str]:
    return {
        str(volume)
        for node in cloud.nodes.values()
        for pool in node.hardware.pools.values()
        for volume in pool.volumes
    }


def rows(cloud: Cloud, query: str) -> list[Any]:
    with cloud.database.read() as tx:
        return [tuple(row) for row in tx.execute(text(query))]


def told(cloud: Cloud) -> list[str]:
    return [t for (t,) in rows(cloud, "select text from event where kind = 'host.stranger'")]


def safe(cloud: Cloud, strangers: frozenset[str] = frozenset()) -> None:
    """What must be true; nobody wishes for strangers, but their hosts."""
    hardware = {id_: node.hardware for id_, node in cloud.nodes.items()}
    with cloud.database.read() as tx:
        invariants.always(tx, hardware)
        assert not list(invariants.as_wished(tx, hardware, strangers))


def test_everything_that_is_the_same_goes_on_and_nothing_is_started_again(cloud) -> None:
    machines = {deploy(cloud, f"m{n}") for n in range(3)}
    copy = cloud.back_up()
    before, begun = running(cloud), starts(cloud)
    cloud.restore(copy)
    cloud.settle_down(20)
    assert running(cloud) == before
    assert before.keys() == machines
    assert starts(cloud) == begun
    safe(cloud)
    assert {node.ledger.held.manifest.incarnation for node in cloud.nodes.values()} == {"after-1"}


def test_an_agent_with_a_higher_generation_takes_what_the_restored_copy_says(cloud) -> None:
    first = deploy(cloud, "first")
    copy = cloud.back_up()
    for _ in range(4):  # generations that the copy will give again
        ask(cloud, power.stop, first, StopIn(force=True))
        cloud.settle_down(5)
        ask(cloud, power.start, first)
        cloud.settle_down(5)
    cloud.restore(copy)
    cloud.settle_down(20)
    second = deploy(cloud, "second")
    ask(cloud, power.stop, first, StopIn(force=True))
    cloud.settle_down(10)
    assert running(cloud).keys() == {second}
    safe(cloud)


def test_a_machine_that_the_copy_does_not_know_is_kept_and_told(cloud) -> None:
    old = deploy(cloud, "old")
    copy = cloud.back_up()
    new = deploy(cloud, "new")
    before, held = running(cloud), disks(cloud)
    cloud.restore(copy)
    cloud.settle_down(30)
    assert running(cloud) == before
    assert before.keys() == {old, new}
    assert disks(cloud) == held
    assert any(new in line for line in told(cloud))
    safe(cloud, frozenset({new}))
    host = cloud.nodes[next(h for h in cloud.nodes if h == before[new])]
    cloud.kill_agent(host)  # it is in the ledger that it is kept
    cloud.settle_down(20)
    assert running(cloud) == before
    third = deploy(cloud, "third")
    assert running(cloud).keys() == {old, new, third}


def test_a_machine_that_was_stopped_in_the_copy_and_runs_now_goes_on_running(cloud) -> None:
    machine = deploy(cloud, "web")
    ask(cloud, power.stop, machine, StopIn(force=True))
    cloud.settle_down(10)
    copy = cloud.back_up()
    ask(cloud, power.start, machine)
    cloud.settle_down(10)
    before = running(cloud)
    begun = starts(cloud)
    cloud.restore(copy)
    cloud.settle_down(20)
    assert running(cloud) == before
    assert starts(cloud) == begun
    assert rows(cloud, "select state, wish, host from machine") == [
        ("running", "running", before[machine])
    ]
    safe(cloud)


def test_a_machine_that_was_stopped_since_does_not_come_back_by_itself(cloud) -> None:
    machine = deploy(cloud, "web")
    copy = cloud.back_up()
    ask(cloud, power.stop, machine, StopIn(force=True))
    cloud.settle_down(10)
    held = disks(cloud)
    cloud.restore(copy)
    cloud.settle_down(20)
    assert running(cloud) == {}
    assert disks(cloud) == held
    assert rows(cloud, "select state, wish from machine") == [("stopped", "stopped")]
    begun = ask(cloud, power.start, machine)
    cloud.settle_down(20)
    assert running(cloud).keys() == {machine}
    assert operation(cloud, begun.id).state == "done"
    safe(cloud)


def operation(cloud: Cloud, id_: str) -> OperationOut:
    found: OperationOut = ask(cloud, operations.get, id_, OperationWaitQuery())
    return found


def test_a_machine_that_went_to_another_host_since_runs_there_and_only_there(cloud) -> None:
    """In the copy it is on its way to a host that could not start it."""
    machine = deploy(cloud, "web", start=False)
    bad = list(cloud.nodes.values())[:2]
    for node in bad:
        node.faults.when = lambda where: "machine" in where
    ask(cloud, power.start, machine)
    while not (at := rows(cloud, "select host from machine where host is not null")):
        cloud.settle_down(1)
    copy = cloud.back_up()
    cloud.settle_down(90)
    assert running(cloud).keys() == {machine}
    truth = running(cloud)[machine]
    assert truth != at[0][0], "it moved"
    for node in bad:
        node.faults.when = lambda _where: False
    cloud.restore(copy)
    for _ in range(40):
        cloud.settle_down(1)
        safe_enough(cloud)
    assert running(cloud) == {machine: truth}
    assert rows(cloud, "select host, state from machine") == [(truth, "running")]
    safe(cloud)


def safe_enough(cloud: Cloud) -> None:
    """Rules 1 to 3, at any moment."""
    hardware = {id_: node.hardware for id_, node in cloud.nodes.items()}
    with cloud.database.read() as tx:
        invariants.always(tx, hardware)


def test_nobody_is_told_anything_before_all_have_been_heard(cloud) -> None:
    machine = deploy(cloud, "web")
    copy = cloud.back_up()
    cloud.restore(copy)
    lost = next(n for n in cloud.nodes.values() if n.id != running(cloud)[machine])
    cloud.cut(lost)
    later = deploy(cloud, "later")
    assert rows(cloud, "select name, state from machine order by name") == [
        ("later", "waiting"),
        ("web", "running"),
    ]
    assert running(cloud).keys() == {machine}
    lost.wire.cut = False
    cloud.settle_down(20)
    assert running(cloud).keys() == {machine, later}
    safe(cloud)


def test_a_host_that_somebody_looks_after_is_not_waited_for(cloud) -> None:
    deploy(cloud, "web")
    copy = cloud.back_up()
    cloud.restore(copy)
    lost = next(iter(cloud.nodes.values()))
    cloud.cut(lost)
    cloud.power_off(lost)
    with cloud.database.write() as tx:
        tx.execute(text("update host set maintenance = true where id = :id"), {"id": lost.id})
    cloud.settle_down(20)
    later = deploy(cloud, "later")
    assert later in running(cloud)


def without_power(cloud: Cloud, host: str) -> None:
    """It is given up, and seen to be off, as its BMC says."""
    with cloud.database.write() as tx:
        down = "update host set state = 'down', powered_off = true, awaited = true where id = :id"
        tx.execute(text(down), {"id": host})


def test_a_host_without_power_holds_back_only_what_may_be_on_it(cloud) -> None:
    """In the copy the machine waits for a host; since then it got one, which has lost its power for good."""
    deploy(cloud, "web")
    moved = deploy(cloud, "moved", start=False)
    copy = cloud.back_up()
    ask(cloud, power.start, moved)
    cloud.settle_down(10)
    lost = next(n for n in cloud.nodes.values() if n.id == running(cloud)[moved])
    cloud.cut(lost)
    cloud.power_off(lost)
    cloud.restore(copy)
    cloud.settle_down(10)
    later = deploy(cloud, "later")
    assert later not in running(cloud), "it may be well, and speak yet"
    without_power(cloud, lost.id)
    cloud.settle_down(10)
    assert later in running(cloud)
    assert running(cloud)[later] != lost.id
    begun = ask(cloud, power.start, moved)
    cloud.settle_down(20)
    assert moved not in running(cloud), "its disk is there, and nowhere else"
    said = ask(cloud, explanations.explain, moved).says
    assert any("has not said what it runs" in line for line in said)
    safe_enough(cloud)
    lost.wire.cut = False
    lost.powered = True
    cloud.settle_down(30)
    assert running(cloud)[moved] == lost.id, "where it was"
    assert operation(cloud, begun.id).state in ("done", "failed")
    safe(cloud)


def test_what_may_be_on_a_host_that_is_off_for_good_goes_on_when_somebody_says_so(cloud) -> None:
    machine = deploy(cloud, "web", start=False)
    copy = cloud.back_up()
    lost = next(iter(cloud.nodes.values()))
    cloud.cut(lost)
    cloud.power_off(lost)
    cloud.restore(copy)
    cloud.settle_down(10)
    without_power(cloud, lost.id)
    ask(cloud, power.start, machine)
    cloud.settle_down(20)
    assert running(cloud) == {}
    with cloud.database.write() as tx:
        tx.execute(text("update host set maintenance = true where id = :id"), {"id": lost.id})
    cloud.settle_down(20)
    assert running(cloud).keys() == {machine}


def test_a_machine_that_was_recovered_since_is_not_erased(cloud) -> None:
    machine = deploy(cloud, "web")
    ask(cloud, power.destroy, machine, DestroyIn())
    cloud.settle_down(10)
    with cloud.database.write() as tx:
        tx.execute(text("insert into setting (name, value) values ('expunge_seconds', '60')"))
    copy = cloud.back_up()
    ask(cloud, power.recover, machine, RecoverIn())
    ask(cloud, power.start, machine)
    cloud.settle_down(60)
    before = running(cloud)
    assert before.keys() == {machine}
    cloud.restore(copy)
    cloud.settle_down(90)
    assert running(cloud) == before
    assert rows(cloud, "select state, wish, destroyed_at from machine") == [
        ("running", "running", None)
    ]
    safe(cloud)


def test_the_vlan_of_a_network_that_the_copy_does_not_know_is_given_to_nobody(cloud) -> None:
    deploy(cloud, "old")
    copy = cloud.back_up()
    net = ask(cloud, networks.create, NetworkIn(name="n", cidr="10.9.0.0/24"))
    stranger = deploy(cloud, "new", networks=(NicIn(network=net.id),))
    (vlan,) = rows(cloud, f"select vlan from network where id = '{net.id}'")
    cloud.restore(copy)
    cloud.settle_down(30)
    assert stranger in running(cloud)
    assert any(f"{vlan[0]}" in line and "VLAN" in line for line in told(cloud))
    for n in range(6):
        ask(cloud, networks.create, NetworkIn(name=f"x{n}", cidr=f"10.1{n}.0.0/24"))
    assert vlan not in rows(cloud, "select vlan from network")


def test_the_64_of_a_network_that_the_copy_does_not_know_is_given_to_nobody(cloud) -> None:
    copy = cloud.back_up()
    made = ask(cloud, networks.create, NetworkIn(name="lost", cidr="10.9.0.0/24", ipv6=True))
    deploy(cloud, "new", networks=(NicIn(network=made.id),))
    cloud.restore(copy)
    with pytest.raises(Unavailable, match="which /64 it has"):
        ask(cloud, networks.create, NetworkIn(name="soon", cidr="10.8.0.0/24", ipv6=True))
    cloud.settle_down(30)
    assert any(made.ipv6_cidr in line for line in told(cloud))
    other = ask(cloud, networks.create, NetworkIn(name="next", cidr="10.9.0.0/24", ipv6=True))
    assert other.ipv6_cidr not in (None, made.ipv6_cidr)


def test_nobody_takes_a_vlan_before_all_hosts_have_said_which_they_use(cloud) -> None:
    deploy(cloud, "old")
    copy = cloud.back_up()
    net = ask(cloud, networks.create, NetworkIn(name="n", cidr="10.9.0.0/24"))
    deploy(cloud, "new", networks=(NicIn(network=net.id),))
    cloud.restore(copy)
    with pytest.raises(Unavailable, match="VLANs"):
        ask(cloud, networks.create, NetworkIn(name="x", cidr="10.11.0.0/24"))
    cloud.settle_down(30)
    ask(cloud, networks.create, NetworkIn(name="x", cidr="10.11.0.0/24"))


def test_the_vlan_of_a_network_that_came_to_more_hosts_since_is_its_own_until_it_left_them(
    cloud,
) -> None:
    net = ask(cloud, networks.create, NetworkIn(name="n", cidr="10.9.0.0/24"))
    copy = cloud.back_up()
    made = [deploy(cloud, f"new-{n}", networks=(NicIn(network=net.id),)) for n in range(3)]
    ((router,),) = rows(cloud, f"select appliance_host from network where id = '{net.id}'")
    hosts = running(cloud)
    strangers = {machine for machine in made if hosts[machine] != router}
    assert strangers, "where its router is not"
    cloud.restore(copy)
    cloud.settle_down(30)
    with cloud.database.write() as tx:
        theirs = [(hosts[each], each) for each in made if each not in strangers]
        wishes.take_back(tx, ItemKind.GUEST, theirs)
    ask(cloud, networks.delete, net.id)
    cloud.settle_down(30)
    assert running(cloud).keys() >= strangers
    safe_enough(cloud)
    with cloud.database.write() as tx:
        wishes.take_back(tx, ItemKind.GUEST, [(hosts[each], each) for each in strangers])
    cloud.settle_down(60)
    assert rows(cloud, f"select 1 from vlan where network = '{net.id}'") == [], "at last"


def test_a_stranger_goes_when_the_server_takes_it_back_explicitly(cloud) -> None:
    copy = cloud.back_up()
    stranger = deploy(cloud, "new")
    host = running(cloud)[stranger]
    cloud.restore(copy)
    cloud.settle_down(20)
    held = disks(cloud)
    with cloud.database.write() as tx:
        wishes.take_back(tx, ItemKind.GUEST, [(host, stranger)])
    cloud.settle_down(20)
    assert running(cloud) == {}
    assert disks(cloud) == held, "its disks are not what was taken back"


IN_VXLAN = next(room for room in ROOMS if room.vnis)


@pytest.mark.parametrize(
    ("seed", "room"),
    [
        *((f"copy-{n}", ROOMS[0]) for n in range(6)),
        *((f"copy-{n}", IN_VXLAN) for n in range(2)),
    ],
    ids=str,
)
def test_whatever_happened_since_the_copy_was_made(seed: str, room: Room) -> None:
    """The dice play, a copy is made, they play on, the copy is restored: all is safe at each step, and comes to rest."""
    able = tuple(each for each in HAPPENINGS if each.fits(room))
    world = World(seed, Shape(room, able))
    cloud = world.region
    try:
        for _ in range(60):
            world._step()
        copy = cloud.back_up()
        for _ in range(60):
            world._step()
        world._heal()
        cloud.settle_down(60)
        before = {m: h for m, h in running(cloud).items() if wished(cloud, m)}
        held = disks(cloud)
        cloud.restore(copy)
        gone: set[str] = set()
        for _ in range(200):
            cloud.settle_down(1)
            safe_enough(cloud)
            gone |= held - disks(cloud)
        after = running(cloud)
        assert before.items() <= after.items(), list(world.trace)
        erased = {v for (v,) in rows(cloud, "select id from volume")} & gone
        assert not erased
        running_operations = rows(cloud, "select id, kind from operation where state = 'running'")
        assert not running_operations
    finally:
        cloud.database.close()
        world._folder.cleanup()


def wished(cloud: Cloud, machine: str) -> bool:
    return rows(cloud, f"select wish from machine where id = '{machine}'") == [("running",)]
