"""A guest that does not let go of a network card: whoever waits is told, and by force it goes with a restart."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arable.services import deployments, networks, nics, operations, power
from arable.sim.cloud import Cloud
from arable.sim.ground import IMAGE, OFFERING, Room
from arable.wire.machines import DeployIn
from arable.wire.networks import NetworkIn
from arable.wire.nics import AttachIn, DetachNicQuery, NicQuery
from arable.wire.operations import OperationOut, OperationWaitQuery


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("clings", tmp_path, Room(pods=1, hosts=2))
    made.settle_down(3)
    yield made
    made.database.close()


def ask(cloud: Cloud, work: Callable[..., Any], *args: Any) -> Any:
    return cloud.ask(cloud.ground.callers[0], lambda call: work(call, *args))


def of(cloud: Cloud, operation: str) -> OperationOut:
    return ask(cloud, operations.get, operation, OperationWaitQuery())


def clinging(cloud: Cloud) -> tuple[str, str, Any]:
    """A machine that runs with a second port, of which its guest will not let go: its id, the port's, and the guest."""
    caller = cloud.ground.callers[0]
    wanted = DeployIn(name="web", offering=OFFERING, image=IMAGE)
    machine = cloud.ask_batch(caller, deployments.deploy_batch, wanted, None).machines[0].id
    cloud.settle_down(10)
    network = ask(cloud, networks.create, NetworkIn(name="second", cidr="10.9.0.0/24"))
    nic = ask(cloud, nics.attach, AttachIn(machine=machine, network=network.id)).nic.id
    cloud.settle_down(10)
    (guest,) = (n.hardware.guests[machine] for n in cloud.nodes.values() if machine in n.hardware.guests)  # fmt: skip
    guest.clings = True
    return machine, nic, guest


def ports(cloud: Cloud) -> int:
    return len(ask(cloud, nics.page, NicQuery()).items)


def test_who_waits_is_told_and_a_restart_by_force_takes_it(cloud) -> None:
    _machine, nic, guest = clinging(cloud)
    waits = ask(cloud, nics.detach, nic)
    cloud.settle_down(30)
    told = [step.text for step in of(cloud, waits.id).steps if "does not let go" in step.text]
    assert len(told) == 1, "once, however often it is tried"
    assert "by force" in told[0]
    assert of(cloud, waits.id).state == "running"
    assert ask(cloud, nics.detach, nic).id == waits.id, "the same is under way"
    starts = guest.runs.boots
    forced = ask(cloud, nics.detach, nic, DetachNicQuery(force=True))
    cloud.settle_down(30)
    assert of(cloud, forced.id).state == "done"
    assert of(cloud, waits.id).state == "failed"
    assert ports(cloud) == 1
    assert guest.runs.boots == starts + 1
    assert len(guest.runs.ports) == 1


def test_by_force_from_the_beginning_and_a_reboot_take_it_as_well(cloud) -> None:
    machine, nic, guest = clinging(cloud)
    forced = ask(cloud, nics.detach, nic, DetachNicQuery(force=True))
    cloud.settle_down(20)
    assert of(cloud, forced.id).state == "done"
    assert ports(cloud) == 1
    again = ask(cloud, nics.attach, AttachIn(machine=machine, network="second")).nic.id
    cloud.settle_down(10)
    guest.clings = True
    ask(cloud, nics.detach, again)
    cloud.settle_down(5)
    ask(cloud, power.reboot, machine)
    cloud.settle_down(30)
    assert ports(cloud) == 1
