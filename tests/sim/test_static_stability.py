"""Every management server is dead for ten minutes: hosts don't notice, and when one is back there is nothing to do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from arable.domain.ids import MachineId
from arable.drivers.simhost import SimHost
from arable.services import deployments, power, rules
from arable.sim import invariants
from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import IMAGE, OFFERING, Room
from arable.wire.machines import DeployIn, StopIn
from arable.wire.rules import ForwardIn

STEP = timedelta(seconds=2)
STEPS = 300  # ten minutes


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a guest: where, since when, and how often it was started before."""

    host: str
    since: float
    starts: int


@pytest.fixture(params=["a", "b", "c"])
def cloud(request, tmp_path: Path) -> Iterator[Cloud]:
    """Machines of two customers on four hosts, reached from outside, one of them stopped."""
    made = Cloud.build(f"stable-{request.param}", tmp_path, Room(pods=2, hosts=2))
    made.settle_down(5)
    for caller in made.ground.callers[:2]:
        wanted = DeployIn(name="m", count=4, offering=OFFERING, image=IMAGE)
        machines = made.ask_batch(caller, deployments.deploy_batch, wanted, None).machines
        made.settle_down(20)
        ((address,),) = rows(
            made,
            "select a.id from address a join nic n on n.network = a.network where n.machine = :m",
            m=machines[0].id,
        )
        forward = ForwardIn(address=address, machine=machines[0].id, first_port=80)
        made.ask(caller, _call(rules.forward, forward))
        made.ask(caller, _call(power.stop, machines[3].id, StopIn()))
        made.settle_down(20)
    yield made
    made.database.close()


def _call(work: Callable[..., Any], *args: Any) -> Callable[[Any], Any]:
    return lambda call: work(call, *args)


def rows(cloud: Cloud, query: str, **values: Any) -> list[Any]:
    with cloud.database.read() as tx:
        return [tuple(row) for row in tx.execute(text(query), values)]


def hardware(cloud: Cloud) -> dict[Any, SimHost]:
    return {host: node.hardware for host, node in cloud.nodes.items()}


def runs(cloud: Cloud) -> dict[MachineId, Run]:
    """Everything that runs now."""
    return {
        machine: Run(host, guest.since, guest.starts)
        for host, sim in hardware(cloud).items()
        for machine, guest in sim.guests.items()
        if guest.runs is not None
    }


def served(cloud: Cloud) -> dict[str, tuple[str, str]]:
    """Ports of running guests whose network's router is up and would renew their lease: its network and address."""
    leases = {
        (network, lease.mac): lease
        for sim in hardware(cloud).values()
        for network, appliance in sim.appliances.items()
        if appliance.seen.running
        for lease in appliance.leases.values()
    }
    return {
        lease.nic: (lease.network, lease.address)
        for sim in hardware(cloud).values()
        for guest in sim.guests.values()
        if guest.runs is not None
        for port in guest.runs.ports
        for (_network, mac), lease in leases.items()
        if mac == port.mac and lease.nic in sim.ports
    }


def forwards(cloud: Cloud) -> set[Any]:
    """What is let in from outside."""
    return {
        forward
        for sim in hardware(cloud).values()
        for appliance in sim.appliances.values()
        for forward in appliance.wish.forwards
    }


def kept(cloud: Cloud) -> list[Any]:
    """What customers see of their machines."""
    return rows(cloud, "select id, state, wish, host, ran, operation from machine order by id")


def restarted(node: SimNode, cloud: Cloud) -> None:
    """The agent's process ends, and another begins with the ledger and nothing else."""
    cloud.kill_agent(node)
    cloud.tend(node)
    assert node.agent is not None


def test_ten_minutes_without_any_management_server_change_nothing(cloud: Cloud) -> None:
    before, leases, rules_before, rows_before = (
        runs(cloud),
        served(cloud),
        forwards(cloud),
        kept(cloud),
    )
    assert len(before) == 6
    assert len(leases) == 6
    assert len(rules_before) == 2
    begun = {host: sim.started for host, sim in hardware(cloud).items()}
    for node in cloud.nodes.values():
        cloud.cut(node)  # there is nobody to be reached
    dice = cloud.entropy.child("restarts").random
    for step in range(STEPS):
        cloud.clock.wait(STEP)
        for node in cloud.nodes.values():
            if dice.random() < 0.02:
                restarted(node, cloud)
            cloud.tend(node)
        assert runs(cloud) == before, f"after {step * STEP}"
        assert served(cloud) == leases, f"after {step * STEP}"
        assert forwards(cloud) == rules_before
    for node in cloud.nodes.values():
        restarted(node, cloud)
        node.wire.cut = False
    cloud.restart_server()
    cloud.settle_down(90)
    assert runs(cloud) == before
    assert served(cloud) == leases
    assert kept(cloud) == rows_before
    assert {host: sim.started for host, sim in hardware(cloud).items()} == begun
    assert rows(cloud, "select state from host group by state") == [("up",)]
    with cloud.database.read() as tx:
        invariants.always(tx, hardware(cloud))
        invariants.at_rest(tx, hardware(cloud))


def test_what_is_asked_for_afterwards_is_done_as_ever(cloud: Cloud) -> None:
    for node in cloud.nodes.values():
        cloud.cut(node)
    for _ in range(STEPS):
        cloud.clock.wait(STEP)
        for node in cloud.nodes.values():
            cloud.tend(node)
    for node in cloud.nodes.values():
        node.wire.cut = False
    cloud.restart_server()
    before = runs(cloud)
    wanted = DeployIn(name="late", offering=OFFERING, image=IMAGE)
    caller = cloud.ground.callers[0]
    (made,) = cloud.ask_batch(caller, deployments.deploy_batch, wanted, None).machines
    cloud.settle_down(40)
    after = runs(cloud)
    assert after.pop(MachineId(made.id)).starts == 1
    assert after == before


def test_a_restarted_agent_knows_from_its_ledger_what_should_run(cloud: Cloud) -> None:
    for node in cloud.nodes.values():
        cloud.cut(node)
    before = runs(cloud)
    machine, run = min(before.items())
    node = next(node for host, node in cloud.nodes.items() if host == run.host)
    cloud.kill_agent(node)
    node.hardware.crash(machine)
    assert machine not in runs(cloud)
    for _ in range(10):
        cloud.clock.wait(STEP)
        cloud.tend(node)
    again = runs(cloud).pop(machine)
    assert (again.host, again.starts) == (run.host, run.starts + 1)
    assert {m: r for m, r in runs(cloud).items() if m != machine} == {
        m: r for m, r in before.items() if m != machine
    }
