"""A host gives up starting a machine, and its owner changes his mind at that very moment."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_recovery import ask, at_rest, passes, rows

from arable.services import deployments, power
from arable.sim.cloud import Cloud
from arable.sim.ground import IMAGE, OFFERING, Room
from arable.wire.machines import DeployIn, DestroyIn, StopIn


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("giving up", tmp_path, Room(pods=1, hosts=2))
    made.settle_down(3)
    yield made
    made.database.close()


@pytest.mark.parametrize(
    ("verb", "how", "end"),
    [
        (power.stop, StopIn(), "stopped"),
        (power.destroy, DestroyIn(), "destroyed"),
        (power.destroy, DestroyIn(expunge=True), None),
    ],
)
def test_what_its_owner_wants_meanwhile_comes_true(cloud, verb: Any, how: Any, end) -> None:
    for node in cloud.nodes.values():
        node.faults.when = lambda where: "ensure nic-" in where
    wish = DeployIn(name="m", offering=OFFERING, image=IMAGE)
    machine = cloud.ask_batch(
        cloud.ground.callers[0], deployments.deploy_batch, wish, None
    ).machines[0]
    for _ in range(120):
        if rows(cloud, "select 1 from machine where giving_up"):
            break
        passes(cloud, 1)
    assert rows(cloud, "select state from machine where giving_up") == [("starting",)]
    ask(cloud, verb, machine.id, how)
    for node in cloud.nodes.values():
        node.faults.when = lambda _where: False
    passes(cloud, 90)
    assert rows(cloud, "select state from machine") == ([(end,)] if end else [])
    assert rows(cloud, "select count(*) from operation where state = 'running'") == [(0,)]
    at_rest(cloud)


def test_where_no_other_host_is_left_it_is_told_what_failed_on_the_last_one(tmp_path) -> None:
    cloud = Cloud.build("giving up", tmp_path, Room(pods=1, hosts=1))
    cloud.settle_down(3)
    for node in cloud.nodes.values():
        node.faults.when = lambda where: "ensure nic-" in where
    wish = DeployIn(name="m", offering=OFFERING, image=IMAGE)
    cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wish, None)
    for _ in range(120):
        if rows(cloud, "select 1 from operation where state = 'failed'"):
            break
        passes(cloud, 1)
    ((error,),) = rows(cloud, "select error from operation where state = 'failed'")
    cloud.database.close()
    assert "1 could not start it" in str(error)
    assert "simulated failure" in str(error), "and why"
