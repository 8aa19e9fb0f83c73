"""A router with IPv6: what it is told, what it tells dnsmasq and nft, and which connections it lets live."""

from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import PurePosixPath

import pytest

from appliance import make_wishes as make
from arable.appliance import dnsmasq
from arable.appliance.connections import Connection6, stays6
from arable.appliance.nftables import ruleset
from arable.appliance.router import leases, router
from arable.domain.errors import BadInput
from arable.domain.manifest import Direction, Ipv6Net, Protocol

NET = Ipv6Net(cidr="2001:db8:100:7::/64", gateway="2001:db8:100:7::1", upstream="2001:db8:100::1")
GUEST, WORLD = "2001:db8:100:7:0:aff:fe01:10a", "2001:db8:ffff::1"
INWARDS = make.opening(cidr="2001:db8:ffff::/48", public="", first_port=22, last_port=22)
OUTWARDS = replace(INWARDS, direction=Direction.OUT)


def told(**but) -> str:
    return dnsmasq.configuration(router(make.wish(**but)), PurePosixPath("/appliance"), "dnsmasq")


def test_without_ipv6_nothing_says_so():
    made = router(make.wish())
    assert "ip6" not in ruleset(made)
    assert "enable-ra" not in told()
    assert dnsmasq.dhcp_hosts(leases(made, [make.lease(10, ipv6=GUEST)])).count(",") == 2


@pytest.mark.parametrize(
    ("but", "lifetime"),
    [
        ({}, 1800),
        ({"ipv6": replace(NET, upstream="")}, 0),
        ({"public": None}, 0),
    ],
)
def test_the_prefix_is_advertised_and_a_router_only_where_a_way_leads_out(but, lifetime):
    said = told(**{"ipv6": NET, "mtu": 1450} | but).splitlines()
    assert "enable-ra" in said
    assert "dhcp-range=2001:db8:100:7::,static,slaac,64,12h" in said
    assert f"ra-param=eth0,mtu:1450,60,{lifetime}" in said


def test_machines_have_their_addresses_and_names():
    made = router(make.wish(ipv6=NET))
    held = leases(made, [make.lease(10, ipv6=GUEST), make.lease(11)])
    assert dnsmasq.dhcp_hosts(held).splitlines()[0].endswith(f",10.1.1.10,[{GUEST}],web-10")
    names = dnsmasq.hosts(made, held).splitlines()
    assert f"{GUEST} web-10.farm.internal web-10" in names
    assert len(names) == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"ipv6": replace(NET, cidr="2001:db8:100::/48")},
        {"ipv6": replace(NET, cidr="2001:db8:100:7::1/64")},
        {"ipv6": replace(NET, cidr="10.0.0.0/24")},
        {"ipv6": replace(NET, gateway="2001:db8:100:7::2")},
        {"ipv6": replace(NET, gateway="::1\nx")},
        {"ipv6": replace(NET, upstream="2001:db8:100:7::2")},
        {"ipv6": replace(NET, upstream="fe80::1%eth0")},
        {"ipv6": replace(NET, upstream="ff02::1")},
        {"ipv6": NET, "mtu": 1279},
        {"ipv6": NET, "firewall": (replace(INWARDS, cidr="2001:db8::1/32"),)},
        {"ipv6": NET, "firewall": (replace(INWARDS, public="203.0.113.10"),)},
        {"firewall": (make.opening(public=""),)},
    ],
)
def test_what_can_not_be_is_refused(bad):
    with pytest.raises(BadInput):
        router(make.wish(**bad))


@pytest.mark.parametrize("bad", [NET.gateway, "2001:db8:100:8::5", "10.1.1.10", "x\ny"])
def test_a_machine_has_an_address_of_its_network(bad):
    with pytest.raises(BadInput):
        leases(router(make.wish(ipv6=NET)), [make.lease(10, ipv6=bad)])


def test_rules_are_of_the_family_that_they_name():
    made = ruleset(router(make.wish(ipv6=NET, firewall=(INWARDS, OUTWARDS))))
    assert "ip6 saddr 2001:db8:ffff::/48 meta l4proto tcp th dport 22 accept" in made
    assert "ip6 daddr 2001:db8:ffff::/48 meta l4proto tcp th dport 22 accept" in made
    pings = replace(INWARDS, protocol=Protocol.ICMP, first_port=0, last_port=0)
    made = ruleset(router(make.wish(ipv6=NET, firewall=(pings,))))
    assert "ip6 saddr 2001:db8:ffff::/48 meta l4proto ipv6-icmp accept" in made


def goes(source: str, target: str, port: int = 22, protocol: Protocol = Protocol.TCP):
    ends = {"source": IPv6Address(source), "target": IPv6Address(target)}
    return Connection6(protocol=protocol, port=port, **ends)


def test_connections_live_by_the_rules():
    free = router(make.wish(ipv6=NET))
    bound = router(make.wish(ipv6=NET, firewall=(INWARDS, replace(OUTWARDS, first_port=22))))
    assert stays6(free, goes(GUEST, WORLD, 80))
    assert not stays6(free, goes(WORLD, GUEST))
    assert stays6(bound, goes(GUEST, WORLD))
    assert not stays6(bound, goes(GUEST, WORLD, 80))
    assert not stays6(bound, goes(GUEST, "2001:db8:eeee::1"))
    assert stays6(bound, goes(WORLD, GUEST))
    assert not stays6(bound, goes(WORLD, GUEST, 80))
    assert not stays6(router(make.wish()), goes(GUEST, WORLD))
    for made in (free, bound, router(make.wish())):
        assert stays6(made, goes("fe80::1", "fe80::2", 0, Protocol.ICMP))
