"""A network gets IPv6 while its machines run, on two hosts: seen from within, from outside, and on the wire."""

import socket
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest
from pyroute2 import IPRoute

from arable.drivers import namespaces
from arable.drivers.network.links import set_sysctl
from arable.wire.ipv6_ranges import Ipv6RangeIn
from arable.wire.machines import NicIn
from arable.wire.networks import NetworkChange, NetworkIn
from arable.wire.rules import FirewallIn
from drivers.emulated_hosts import is_silent, reaches
from drivers.frames import IPV6
from e2e.customers import Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.test_two_customers import wiretap

pytestmark = pytest.mark.real

UPSTREAM, LIE = "2001:db8:100::1", "2001:db8:100:1::bad"


@pytest.fixture
def violet(cloud: LabCloud) -> Iterator[Customer]:
    """A customer with a machine on each host, in a zone that has IPv6, as has who is outside."""
    zone = next(cloud.operator.zones.all()).name
    ask = Ipv6RangeIn(zone=zone, cidr="2001:db8:100::/48", gateway=UPSTREAM)
    made = cloud.operator.ipv6_ranges.create(ask)
    who = customer(cloud.operator, cloud.url, "violet")
    _outside_has_it(cloud.netns("internet"), zone)
    try:
        network = who.api.networks.create(NetworkIn(name="both", cidr="10.16.0.0/24"))
        on = (NicIn(network="both"),)
        asked = [who.deploy(name, tags=(name,), networks=on) for name in ("left", "right")]
        who.wait(*asked)
        yield who
        who.destroy(who.machines())
        who.wait(who.api.networks.delete(network.id).id)
        cloud.operator.ipv6_ranges.delete(made.id)
    finally:
        who.close()


def _outside_has_it(netns: str, device: str) -> None:
    def act() -> None:
        set_sysctl(f"net/ipv6/conf/{device}/disable_ipv6", "0")
        with IPRoute() as ip:
            (index,) = ip.link_lookup(ifname=device)
            more = {"family": socket.AF_INET6, "prefixlen": 48, "flags": 0x82}
            ip.addr("add", index=index, address=UPSTREAM, **more)

    namespaces.inside(netns, act)


def test_running_machines_get_addresses_that_are_theirs_alone(
    cloud: LabCloud, violet: Customer
) -> None:
    (network,) = [one for one in violet.api.networks.all() if one.name == "both"]
    left, right = violet.at("left"), violet.at("right")
    assert violet.machine("left").nics[0].ipv6_address is None
    changed = violet.api.networks.update(network.id, NetworkChange(ipv6=True))
    own, far = (violet.machine(name).nics[0] for name in ("left", "right"))
    assert own.ipv6_address
    assert far.ipv6_address
    for at, nic in ((left, own), (right, far)):
        at.run(f"until ip -6 addr show eth0 | grep -q '{nic.ipv6_address}/64'; do sleep 0.2; done")
    # The first echo waits for its host to be told; from then on it is there.
    left.run(f"until ping6 -c 1 -w 2 {changed.ipv6_gateway}; do :; done")
    for there in (far.ipv6_address, UPSTREAM):
        left.run(f"until ping6 -c 1 -w 2 {there}; do :; done")
    assert far.ipv6_address in left.run(f"nslookup right.internal {changed.ipv6_gateway}")

    outside = cloud.netns("internet")
    assert is_silent(outside, own.ipv6_address)
    ask = FirewallIn(network=network.id, cidr="2001:db8:100::/64", protocol="icmp")
    violet.wait(violet.api.rules.firewall(ask).operation)
    assert reaches(outside, own.ipv6_address)

    with wiretap(cloud, "pod-b", "b1") as tap:
        right.outcome(
            f"ip addr add {LIE}/128 dev eth0; ping6 -c 2 -w 2 -I {LIE} {own.ipv6_address}"
        )
        right.run(f"ip addr del {LIE}/128 dev eth0; ping6 -c 1 -w 30 {own.ipv6_address}")
        seen = tap.until(lambda seen: seen.source == far.mac and _sender(seen) == far.ipv6_address)
    assert LIE not in {_sender(each) for each in seen if each.source == far.mac}


def _sender(frame) -> str:
    return str(IPv6Address(frame.payload[8:24])) if frame.kind == IPV6 else ""
