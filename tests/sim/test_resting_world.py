"""Idle hosts sleep in the simulated world: no power is cut under a machine, and who is needed is woken."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from arable.domain.access import Permission
from arable.domain.ids import MachineId
from arable.domain.settings import IDLE_HOST_RESERVE, IDLE_HOST_SECONDS, IDLE_HOSTS
from arable.services import deployments, explanations
from arable.sim.ground import IMAGE, OFFERING, Room
from arable.sim.happenings import HAPPENINGS
from arable.sim.region import Region
from arable.sim.world import Shape, World
from arable.store import settings
from arable.wire.machines import DeployIn

ROOMS = (
    Room(pods=1, hosts=3, host_memory_mib=512, bmcs=True, idle=True),  # two machines on each host
    Room(pods=2, hosts=2, host_memory_mib=512, bmcs=True, idle=True, servers=2),
    Room(pods=2, hosts=3, bmcs=True, idle=True),
)


@pytest.mark.parametrize(("seed", "room"), list(zip("125", ROOMS, strict=True)))
def test_whoever_sleeps_every_machine_runs_that_should(seed: str, room: Room) -> None:
    kinds = {"idle", "guests", "power", "servers"}
    World(seed, Shape(room, tuple(each for each in HAPPENINGS if each.kind in kinds))).run(150)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Region]:
    """One host for routers and two that sleep when they are idle; each has room for two machines."""
    made = Region.of("a", tmp_path, ROOMS[0])
    policy = {IDLE_HOSTS.name: "sleep", IDLE_HOST_SECONDS.name: 60, IDLE_HOST_RESERVE.name: 0}
    with made.database.write() as tx:
        settings.put(tx, policy)
    made.live(150)
    yield made
    made.database.close()


def deploy(region: Region, name: str, count: int) -> None:
    wish = DeployIn(name=name, count=count, offering=OFFERING, image=IMAGE)
    region.ask_batch(region.ground.callers[0], deployments.deploy_batch, wish, None)


def states(region: Region) -> list[str]:
    with region.database.read() as tx:
        return sorted(tx.scalars(text("select state from machine")))


def asleep(region: Region) -> set[str]:
    """By name."""
    with region.database.read() as tx:
        return set(tx.scalars(text("select name from host where state = 'asleep' and rests")))


def test_a_machine_for_which_only_a_sleeping_host_has_room_waits_for_it_and_says_so(
    small: Region,
) -> None:
    assert asleep(small) == {"host-0-1", "host-0-2"}
    deploy(small, "first", 2)
    small.live(30)
    assert states(small) == ["running", "running"]
    assert len(asleep(small)) == 2, "there was room"
    deploy(small, "more", 1)
    while len(asleep(small)) == 2:
        small.live(0.5)
    assert states(small) == ["running", "running", "waiting"]
    (woken,) = {"host-0-1", "host-0-2"} - asleep(small)
    with small.database.read() as tx:
        (machine,) = tx.scalars(text("select id from machine where state = 'waiting'"))
    customer = small.ground.callers[0]
    told = small.ask(customer, lambda call: explanations.explain(call, MachineId(machine)))
    assert "waits for a host that is being woken" in told.says
    assert not any(woken in line for line in told.says), "hosts are no customer's business"
    assert Permission.INFRA_READ not in customer.permissions
    small.live(60)
    assert states(small) == ["running"] * 3
    assert len(asleep(small)) == 1, "one was enough"


def test_what_no_sleeping_host_could_take_either_is_refused_and_wakes_nobody(
    small: Region,
) -> None:
    deploy(small, "many", 2)
    small.live(30)
    with small.database.write() as tx:
        tx.execute(text("update offering set cpu_mhz = 1000000"))
    deploy(small, "huge", 1)
    small.live(30)
    with small.database.read() as tx:
        failed = list(tx.scalars(text("select state from operation where state = 'failed'")))
    assert len(failed) == 1
    assert len(asleep(small)) == 2


def test_many_that_wait_wake_as_many_hosts_as_they_need(small: Region) -> None:
    deploy(small, "all", 6)
    small.live(90)
    assert states(small) == ["running"] * 6
    assert asleep(small) == set()
