"""Networks with IPv6 in a whole cloud: what machines have, they have wherever they are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_recovery import at_rest, declare_down, deploy, passes, rows, write

from arable.domain.guest_ipv6 import address_of
from arable.domain.ids import NetworkId
from arable.drivers.network.protocol import PortKind
from arable.services import networks
from arable.sim.cloud import Cloud
from arable.sim.ground import AVAILABLE, Room
from arable.sim.invariants import Broken
from arable.wire.networks import NetworkChange


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("six", tmp_path, Room(pods=1, hosts=3, storage=1))
    made.settle_down(3)
    deploy(made, "m", AVAILABLE)
    passes(made, 20)
    yield made
    made.database.close()


def ports(cloud: Cloud) -> dict[str, set[str]]:
    """The IPv6 addresses of guests' ports, by host."""
    return {
        host: {port.ipv6 for port in node.hardware.ports.values() if port.kind is PortKind.TAP}
        for host, node in cloud.nodes.items()
        if node.powered and any(port.kind is PortKind.TAP for port in node.hardware.ports.values())
    }


def test_a_machine_gets_an_address_while_it_runs_and_has_it_on_another_host(cloud) -> None:
    ((network, mac),) = rows(cloud, "select network, mac from nic")
    ((where,),) = rows(cloud, "select host from machine")
    assert ports(cloud) == {where: {""}}
    change = NetworkChange(ipv6=True)
    caller = cloud.ground.callers[0]
    cloud.ask(caller, lambda call: networks.update(call, NetworkId(network), change))
    passes(cloud, 10)
    ((cidr,),) = rows(cloud, "select ipv6_cidr from network")
    six = address_of(cidr, mac)
    assert ports(cloud) == {where: {six}}
    at_rest(cloud)
    lost = cloud.nodes[where]
    cloud.power_off(lost)
    declare_down(cloud, lost, powered_off=True)
    passes(cloud, 40)
    ((now,),) = rows(cloud, "select host from machine")
    assert now != where
    assert ports(cloud)[now] == {six}


def test_the_world_notices_a_port_that_was_not_told(cloud) -> None:
    write(
        cloud,
        "update network set ipv6_cidr = '2001:db8:100:1::/64', ipv6_number = 1,"
        " ipv6_range = (select id from ipv6_range), attention = true",
    )
    passes(cloud, 10)
    with pytest.raises(Broken, match="not '2001:db8:100:1:"):
        at_rest(cloud)
