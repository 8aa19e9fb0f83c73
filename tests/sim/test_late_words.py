"""What a server heard before it was frozen, and keeps when it goes on: its host has another server by then."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from arable.domain.ids import MachineId
from arable.services import deployments, power
from arable.sim.cloud import SimNode
from arable.sim.ground import IMAGE, OFFERING, Room
from arable.sim.region import Region
from arable.sim.servers import SimServer
from arable.wire.machines import DeployIn, StopIn


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region.of("late words", tmp_path, Room(pods=1, hosts=1, servers=2))
    made.restarts = False  # nobody helps a server that stands still
    made.live(30.0)
    yield made
    made.database.close()


def ask(region: Region, work: Callable[..., Any], *args: Any) -> None:
    region.ask(region.ground.callers[0], lambda call: work(call, *args))


def machine(region: Region) -> tuple[str, str, str | None]:
    """Its id, its state and its host."""
    with region.database.read() as tx:
        return tuple(tx.exec_driver_sql("select id, state, host from machine").one())  # type: ignore[return-value]


def until(region: Region, true: Callable[[], bool]) -> None:
    for _ in range(400):
        if true():
            return
        region.live(0.25)
    raise AssertionError("it did not come true")


def until_gone(region: Region, node: SimNode, guest: MachineId) -> None:
    """The host moves last, so that nobody has heard yet what it says."""
    for _ in range(400):
        region.pass_time(timedelta(seconds=0.25))
        region.control()
        region.tend(node)
        if guest not in node.hardware.guests:
            assert node.wire.up
            return
    raise AssertionError("the guest is there still")


def server_of(region: Region) -> SimServer | None:
    (node,) = region.nodes.values()
    return region.servers.get(node.wire.server.partition("/")[0]) if node.wire.known else None


def test_an_old_word_that_a_guest_is_gone_stops_no_machine_that_runs(region: Region) -> None:
    (node,) = region.nodes.values()
    wish = DeployIn(name="web", offering=OFFERING, image=IMAGE)
    region.ask_batch(region.ground.callers[0], deployments.deploy_batch, wish, None)
    until(region, lambda: machine(region)[1] == "running")
    id_ = MachineId(machine(region)[0])
    ask(region, power.stop, id_, StopIn(force=True))
    until_gone(region, node, id_)  # and its host has just said so
    first = server_of(region)
    assert first is not None
    first.stand_still(90.0)  # it has heard that, and keeps it when it goes on
    until(region, lambda: server_of(region) not in (None, first))
    until(region, lambda: machine(region)[1] == "stopped")
    ask(region, power.start, id_)
    until(region, lambda: machine(region)[1] == "running")
    region.live(first.frozen_until - region.clock.monotonic() - 2.0)
    node.hardware.disobey(id_)
    ask(region, power.stop, id_, StopIn())
    assert not first.works
    until(region, lambda: first.works)
    region.live(5.0)
    assert machine(region) == (id_, "stopping", node.id)
    assert node.hardware.guests[id_].awake
