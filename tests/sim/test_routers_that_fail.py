"""A routing appliance that can't start where it was put: another host is tried, and when none is left, who waits is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from arable.domain.access import ROLES, Caller
from arable.domain.settings import APPLIANCE_IDLE_SECONDS
from arable.services import deployments, explanations, networks, operations, power, rules
from arable.sim import invariants
from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import IMAGE, OFFERING, Room
from arable.store import settings
from arable.wire.machines import DeployIn, DeployOut, StopIn
from arable.wire.operations import OperationOut, OperationWaitQuery
from arable.wire.rules import FirewallIn

WHY = "dnsmasq is not installed"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("routers", tmp_path, Room(pods=1, hosts=3))
    with made.database.write() as tx:
        settings.put(tx, {APPLIANCE_IDLE_SECONDS.name: 30})
    made.settle_down(2)
    yield made
    made.database.close()


def me(cloud: Cloud) -> Caller:
    return cloud.ground.callers[0]


def deploy(cloud: Cloud, name: str = "web") -> DeployOut:
    ask = DeployIn(name=name, offering=OFFERING, image=IMAGE)
    return cloud.ask_batch(me(cloud), deployments.deploy_batch, ask, None)


def operation(cloud: Cloud, id_: str, caller: Caller | None = None) -> OperationOut:
    return cloud.ask(
        caller or me(cloud), lambda call: operations.get(call, id_, OperationWaitQuery())
    )


def unable(*nodes: SimNode) -> None:
    for node in nodes:
        node.hardware.unroutable = WHY


def rows(cloud: Cloud, query: str) -> list[tuple]:
    with cloud.database.read() as tx:
        return [tuple(row) for row in tx.execute(text(query))]


def at_rest(cloud: Cloud) -> None:
    hardware = {id_: node.hardware for id_, node in cloud.nodes.items()}
    with cloud.database.read() as tx:
        invariants.always(tx, hardware)
        invariants.at_rest(tx, hardware)


def test_another_host_runs_the_appliance_that_the_first_ones_can_not_start(cloud) -> None:
    *bad, good = cloud.nodes.values()
    unable(*bad)
    made = deploy(cloud)
    cloud.settle_down(60)
    assert operation(cloud, made.operation).state == "done"
    assert rows(cloud, "select appliance_state, appliance_host from network") == [
        ("running", good.id)
    ]
    assert rows(cloud, "select appliance_failed from network") == [("{}",)]
    at_rest(cloud)


def test_routers_of_several_networks_that_a_host_speaks_of_at_once_are_all_in_effect(
    tmp_path,
) -> None:
    cloud = Cloud.build("one host", tmp_path, Room(pods=1, hosts=1))
    cloud.settle_down(2)
    for caller in cloud.ground.callers[:2]:
        ask = DeployIn(name="web", offering=OFFERING, image=IMAGE)
        cloud.ask_batch(caller, deployments.deploy_batch, ask, None)
    cloud.settle_down(5)
    assert rows(cloud, "select count(*) from network where appliance_state = 'running'") == [(2,)]
    assert rows(cloud, "select count(*) from network where appliance_seen <> generation") == [(0,)]
    assert rows(cloud, "select count(*) from operation where state <> 'done'") == [(0,)]
    assert rows(cloud, "select count(*) from machine where state = 'running'") == [(2,)]
    cloud.database.close()


def test_when_no_host_can_the_deployment_fails_with_its_causes_and_leaves_nothing(cloud) -> None:
    unable(*cloud.nodes.values())
    made = deploy(cloud)
    cloud.settle_down(90)
    failed = operation(cloud, made.operation)
    assert failed.state == "failed"
    assert failed.error.type.endswith("no-room")
    assert "routing appliance" in failed.error.detail
    chain, cause = [], failed.error
    while cause.causes:
        (cause,) = cause.causes
        chain.append(cause.detail)
    assert len(chain) == 3, "one for each host that tried"
    assert all(WHY in told for told in chain)
    assert rows(cloud, "select count(*) from machine") == [(0,)]
    assert rows(cloud, "select state, appliance_state, appliance_host from network") == [
        ("ready", "absent", None)
    ]
    assert (
        rows(cloud, "select used_machines, used_cpus, used_storage_mib from quota")
        == [(0, 0, 0)] * 2
    )
    assert not any(node.hardware.ports for node in cloud.nodes.values())
    at_rest(cloud)
    (network,) = rows(cloud, "select id from network")
    cloud.ask(me(cloud), lambda call: networks.delete(call, network[0]))
    cloud.settle_down(20)
    assert rows(cloud, "select count(*) from vlan where network is not null") == [(0,)]
    assert rows(cloud, "select count(*) from address where network is not null") == [(0,)]


def test_which_hosts_tried_is_for_operators_to_know(cloud) -> None:
    unable(*cloud.nodes.values())
    made = deploy(cloud)
    cloud.settle_down(90)
    customer = operation(cloud, made.operation)
    assert "host-0-" not in repr(customer)
    rank, may = ROLES["operator"]
    boss = Caller(**{**_fields(me(cloud)), "role": "operator", "rank": rank, "permissions": may})
    told = operation(cloud, made.operation, boss).error.why["hosts"]
    assert sorted(told) == ["host-0-0", "host-0-1", "host-0-2"]
    assert all(WHY in each for each in told.values())


def _fields(caller: Caller) -> dict:
    return {name: getattr(caller, name) for name in caller.__dataclass_fields__}


def test_a_later_start_tries_every_host_again(cloud) -> None:
    made = deploy(cloud)
    machine = made.machines[0].id
    cloud.settle_down(10)
    cloud.ask(me(cloud), lambda call: power.stop(call, machine, StopIn()))
    cloud.settle_down(120)  # the appliance is collected
    assert rows(cloud, "select appliance_state from network") == [("absent",)]
    unable(*cloud.nodes.values())
    begun = cloud.ask(me(cloud), lambda call: power.start(call, machine))
    cloud.settle_down(90)
    failed = operation(cloud, begun.id)
    assert failed.state == "failed"
    says = cloud.ask(me(cloud), lambda call: explanations.explain(call, machine)).says
    assert any(WHY in line for line in says)
    assert rows(cloud, "select state, wish, host from machine") == [("stopped", "stopped", None)]
    at_rest(cloud)
    for node in cloud.nodes.values():
        node.hardware.unroutable = ""
    again = cloud.ask(me(cloud), lambda call: power.start(call, machine))
    cloud.settle_down(30)
    assert operation(cloud, again.id).state == "done"
    at_rest(cloud)


def test_what_was_asked_of_the_network_meanwhile_ends_too(cloud) -> None:
    unable(*cloud.nodes.values())
    made = deploy(cloud)
    cloud.settle_down(2)
    (network,) = rows(cloud, "select id from network")
    ask = FirewallIn(direction="out", network=network[0])
    rule = cloud.ask(me(cloud), lambda call: rules.firewall(call, ask))
    cloud.settle_down(90)
    assert operation(cloud, made.operation).state == "failed"
    assert operation(cloud, rule.operation).state == "done"


def test_a_host_that_failed_once_counts_again_when_nobody_waited_any_more(cloud) -> None:
    unable(*cloud.nodes.values())
    machine = deploy(cloud).machines[0].id
    while not rows(cloud, "select 1 from network where appliance_failed <> '{}'"):
        cloud.settle_down(1)
    cloud.ask(me(cloud), lambda call: power.stop(call, machine, StopIn(force=True)))
    for node in cloud.nodes.values():
        node.hardware.unroutable = ""
    cloud.settle_down(60)
    assert rows(cloud, "select appliance_failed from network") == [("{}",)]


def test_without_any_routing_host_the_refusal_says_what_they_are(cloud) -> None:
    with cloud.database.write() as tx:
        tx.execute(text("update host set maintenance = true"))
    made = deploy(cloud)
    cloud.settle_down(5)
    failed = operation(cloud, made.operation)
    assert failed.error.why["reasons"] == {"is in maintenance": 3}
