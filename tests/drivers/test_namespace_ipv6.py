# ruff: noqa: F811 - fixtures of another module are named as arguments
"""IPv6 of a guest network, as guests on two hosts and the world outside see it."""

import socket
import struct
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from pyroute2 import IPRoute

from arable.domain.guest_ipv6 import address_of, link_local
from arable.domain.manifest import Direction, FirewallRule, Ipv6Net, Protocol
from arable.drivers import namespaces
from arable.drivers.appliance.namespace import mac_of
from drivers import frames as f
from drivers import frames6 as f6
from drivers import make_drivers as make
from drivers import services
from drivers.emulated_hosts import reaches, run, station
from drivers.town_fixtures import hosts, town, world  # noqa: F401 - fixtures

pytestmark = pytest.mark.real

CIDR, GATEWAY, UPSTREAM = "2001:db8:100:7::/64", "2001:db8:100:7::1", "2001:db8:100::1"
NET = Ipv6Net(cidr=CIDR, gateway=GATEWAY, upstream=UPSTREAM)
MACS = {10: "02:00:0a:01:01:0a", 11: "02:00:0a:01:01:0b"}
ADDRESS = {number: address_of(CIDR, mac) for number, mac in MACS.items()}


def addresses(netns: str, *, settled: bool = True) -> set[str]:
    """The IPv6 addresses of eth0, but those that are not known yet to be its own."""

    def look() -> set[str]:
        with IPRoute() as ip:
            held = ip.get_addr(family=socket.AF_INET6, label=None)
            return {
                one.get_attr("IFA_ADDRESS")
                for one in held
                if one["scope"] != 254 and not (settled and one["flags"] & 0x40)
            }

    return namespaces.inside(netns, look)


def has(netns: str, address: str) -> None:
    make.wait_until(lambda: address in addresses(netns), f"{address} in {addresses(netns)}", 60)


def way_out(netns: str) -> list[str]:
    def look() -> list[str]:
        with IPRoute() as ip:
            routes = ip.get_default_routes(family=socket.AF_INET6, table=254)
            return [route.get_attr("RTA_GATEWAY") for route in routes]

    return namespaces.inside(netns, look)


def give(netns: str, address: str, length: int) -> None:
    def act() -> None:
        with IPRoute() as ip:
            (index,) = ip.link_lookup(ifname="eth0")
            held = {one.get_attr("IFA_ADDRESS") for one in ip.get_addr(index=index)}
            if address not in held:
                ip.addr(
                    "add",
                    index=index,
                    family=socket.AF_INET6,
                    address=address,
                    prefixlen=length,
                    flags=0x82,
                )

    namespaces.inside(netns, act)


@pytest.fixture
def dual(town, world):
    """The town has IPv6, and two guests: one on each host."""
    give(world, UPSTREAM, 48)
    run(world, ["ip", "-6", "neigh", "flush", "dev", "eth0"])  # another town's router was there
    guest = town.guest(10, ipv6=ADDRESS[10], addressed=False)
    far = make.tap(vlan=101, mac=MACS[11], address="10.1.1.11", ipv6=ADDRESS[11], rate_kbps=0)
    with ExitStack() as stack:
        other = stack.enter_context(station(town.other, far, addressed=False))
        town.leases.append(
            make.lease(
                town.wish.network,
                nic=far.nic,
                mac=far.mac,
                address=far.address,
                ipv6=far.ipv6,
                name="web-11",
            )
        )
        town.program(ipv6=NET)
        has(guest, ADDRESS[10])
        has(other, ADDRESS[11])
        yield guest, other


def solicited(netns: str, mac: str) -> str:
    """The address that DHCPv6 offers to a client with this MAC, as text; empty when it offers none."""
    identity = struct.pack(">HHHH", 1, 10, 3, 1) + f.mac(mac)
    ask = bytes([1, 0, 0, 7]) + identity + struct.pack(">HHIII", 3, 12, 1, 0, 0)
    ask += struct.pack(">HHH", 8, 2, 0)

    def act() -> str:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as mouth:
            there = socket.if_nametoindex("eth0")
            mouth.bind((link_local(mac), 546, 0, there))
            mouth.settimeout(2)
            for _ in range(10):
                mouth.sendto(ask, ("ff02::1:2", 547, 0, there))
                try:
                    return _offered(mouth.recv(2048)[4:])
                except TimeoutError:
                    continue
        return ""

    return namespaces.inside(netns, act)


def _offered(options: bytes) -> str:
    """The first address in a DHCPv6 message's options."""
    while len(options) >= 4:
        kind, size = struct.unpack_from(">HH", options)
        body, options = options[4 : 4 + size], options[4 + size :]
        if kind == 3:
            return _offered(body[12:])
        if kind == 5:
            return str(IPv6Address(body[:16]))
    return ""


def test_guests_find_their_addresses_their_way_and_each_other_and_tell_no_lies(
    dual, town, world
) -> None:
    guest, other = dual
    assert addresses(guest) == {link_local(MACS[10]), ADDRESS[10]}
    make.wait_until(lambda: bool(way_out(guest)), "a router to be advertised")
    assert way_out(guest) == [link_local(mac_of(town.wish.network, "eth0"))]
    for there in (GATEWAY, ADDRESS[11], UPSTREAM):
        assert reaches(guest, there), there
    assert reaches(other, ADDRESS[10])
    assert solicited(guest, MACS[10]) == ADDRESS[10]
    named = run(guest, ["busybox", "nslookup", "web-11.farm.internal", GATEWAY]).stdout
    assert ADDRESS[11] in named
    assert not told_of(guest, other, MACS[10])


def told_of(guest: str, other: str, own: str) -> list[f.Seen]:
    """Lies of a guest that the other one heard."""
    local, stranger = link_local(own), "2001:db8:100:7::bad"
    note = f6.echo_request(b"lies")

    def frame(payload: bytes, source: str = own, target: str = f6.ALL_NODES_MAC) -> bytes:
        return f.ethernet(source, target, f.IPV6, payload)

    lies = [
        frame(f6.ipv6(stranger, f6.ALL_NODES, f6.ICMP6, note)),  # a source in the /64, not its own
        frame(f6.ipv6(ADDRESS[11], f6.ALL_NODES, f6.ICMP6, note)),
        frame(f6.ipv6(local, f6.ALL_NODES, f6.ICMP6, note), source="02:00:0a:01:01:0c"),
        frame(f6.ipv6("fe80::1", f6.ALL_NODES, f6.ICMP6, note)),
        frame(
            f6.ipv6(
                local, f6.ALL_NODES, f6.ICMP6, f6.advertisement_of_a_router("2001:db8:bad::", own)
            )
        ),
        frame(f6.ipv6(local, f6.ALL_NODES, f6.ICMP6, f6.neighbour_answer(GATEWAY, own))),
        frame(
            f6.ipv6(local, f6.ALL_NODES, f6.ICMP6, f6.neighbour_answer(local, "02:00:0a:01:01:0c"))
        ),
        frame(f6.ipv6(GATEWAY, f6.ALL_NODES, f6.ICMP6, f6.neighbour_question(local, own))),
        frame(f6.ipv6("::", f6.ALL_NODES, f6.ICMP6, f6.neighbour_question(GATEWAY))),
        frame(f6.ipv6(local, f6.ALL_NODES, f6.ICMP6, bytes([137, 0, 0, 0]) + bytes(36))),
        frame(f6.ipv6(local, f6.ALL_NODES, f6.UDP, f6.udp(547, 546, b"lies"))),
    ]
    truth = b"the truth"
    mouth, ear = f.Wiretap(guest, "eth0"), f.Wiretap(other, "eth0")
    try:
        for each in lies:
            mouth.send(each)
        said = frame(f6.ipv6(ADDRESS[10], f6.ALL_NODES, f6.ICMP6, f6.echo_request(truth)))
        heard = f.collect(
            ear.receive,
            lambda seen: truth in seen.payload,
            again=lambda: mouth.send(said),
            seconds=60,
        )
    finally:
        mouth.close()
        ear.close()
    bodies = [each[14:] for each in lies]
    return [each for each in heard if any(each.payload.startswith(body) for body in bodies)]


def is_cut(held: socket.socket) -> bool:
    """Whether nothing comes back; say it only beside what still is let through."""
    with held:
        held.settimeout(1.0)
        held.sendall(b"anybody?")
        try:
            return not held.recv(100)
        except TimeoutError:
            return True


def test_who_may_come_in_and_go_out_is_said_by_rules(dual, town, world) -> None:
    guest, _other = dual
    with services.echo(guest, ADDRESS[10], 7000), services.echo(world, UPSTREAM, 7001):
        assert services.is_closed(world, ADDRESS[10], 7000)
        held = services.call(guest, UPSTREAM, 7001)
        assert services.says_back(held)
        opening = FirewallRule(
            direction=Direction.IN,
            protocol=Protocol.TCP,
            cidr="2001:db8:100::/64",
            first_port=7000,
            last_port=7000,
        )
        only = replace(opening, direction=Direction.OUT, cidr="2001:db8:200::/48")
        town.program(firewall=(opening,))
        assert services.answers(world, ADDRESS[10], 7000)
        assert services.says_back(held)
        town.program(firewall=(opening, only))
        assert is_cut(held)  # what may not be said any more
        assert services.is_closed(guest, UPSTREAM, 7001)
        assert services.answers(world, ADDRESS[10], 7000)


def test_without_a_way_out_no_router_is_named_and_ipv6_can_go(dual, town, world) -> None:
    guest, _other = dual
    make.wait_until(lambda: bool(way_out(guest)), "a router to be advertised")
    town.program(ipv6=replace(NET, upstream=""))
    make.wait_until(lambda: not way_out(guest), "the router to say that it leads nowhere")
    assert reaches(guest, ADDRESS[11])
    town.program(ipv6=None)
    assert reaches(guest, ADDRESS[11])
    assert not addresses(town.netns) - {"fe80::2"}
    town.program(ipv6=NET)
    assert reaches(guest, GATEWAY)
