"""Wishes for routers: honest ones, made by chance, and ones in which somebody put what doesn't belong there."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import strategies as st

from arable.domain.ids import NetworkId, NicId
from arable.domain.manifest import (
    ApplianceWish,
    Direction,
    FirewallRule,
    LeaseWish,
    PortForward,
    Protocol,
    PublicPort,
)

NETWORK = NetworkId("network-000000000abcdefghijk")
HOSTILE = st.sampled_from(
    [
        "\n",
        "x\ndhcp-script=/bin/sh",
        "10.1.1.5\nserver=6.6.6.6",
        "web\n10.1.1.1 bank.example",
        "web,infinite",
        "web #",
        "a b",
        "web;",
        "10.1.1.5 accept",
        '"; flush ruleset; "',
        "tcp dport 22 accept",
        "}",
        "$x",
        "../../etc/passwd",
        "0.0.0.0/0",
        "10.1.1.5/24",
        "::1",
        "",
        "١٠.1.1.5",
        "web\x00",
        "web\r",
        "-web",
        "web.",
        "x" * 64,
        "eth1",
        "52:54:00:00:00:01,set:known",
    ]
)


def wish(**but: Any) -> ApplianceWish:
    usual: dict[str, Any] = {
        "network": NETWORK,
        "generation": 1,
        "vlan": 100,
        "cidr": "10.1.1.0/24",
        "gateway": "10.1.1.1",
        "domain": "farm.internal",
        "public": PublicPort(
            vlan=50,
            address="203.0.113.10",
            prefix=24,
            gateway="203.0.113.1",
            further=("203.0.113.11",),
        ),
    }
    return ApplianceWish(**usual | but)


def forward(**but: Any) -> PortForward:
    usual: dict[str, Any] = {
        "protocol": Protocol.TCP,
        "public": "203.0.113.10",
        "first_port": 8080,
        "last_port": 8080,
        "to": "10.1.1.10",
        "to_port": 80,
    }
    return PortForward(**usual | but)


def opening(**but: Any) -> FirewallRule:
    usual: dict[str, Any] = {
        "direction": Direction.IN,
        "protocol": Protocol.TCP,
        "cidr": "0.0.0.0/0",
        "public": "203.0.113.10",
        "first_port": 8080,
        "last_port": 8080,
    }
    return FirewallRule(**usual | but)


def lease(number: int = 10, **but: Any) -> LeaseWish:
    usual: dict[str, Any] = {
        "nic": NicId(f"nic-{number}"),
        "network": NETWORK,
        "mac": f"02:00:0a:01:{number >> 8:02x}:{number & 255:02x}",
        "address": f"10.1.1.{number}",
        "name": f"web-{number}",
    }
    return LeaseWish(**usual | but)


labels = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
publics = st.integers(20, 250).map(lambda n: f"203.0.113.{n}")
outsides = st.builds(
    lambda address, prefix: str(IPv4Network((address, prefix), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
ranges = st.tuples(st.integers(1, 65_535), st.integers(0, 40)).map(
    lambda pair: (pair[0], min(65_535, pair[0] + pair[1]))
)


@st.composite
def cidrs(draw: st.DrawFn) -> IPv4Network:
    prefix = draw(st.integers(16, 29))
    return IPv4Network((draw(st.integers(0x0A000000, 0x0AFFFFFF)), prefix), strict=False)


def hosts_in(cidr: IPv4Network, beginning: int = 2) -> st.SearchStrategy[str]:
    return st.integers(beginning, cidr.num_addresses - 2).map(lambda n: str(cidr[n]))


@st.composite
def honest(draw: st.DrawFn) -> ApplianceWish:
    """Any router that may be asked for, with ways in and out."""
    cidr = draw(cidrs())
    addresses = draw(st.lists(publics, min_size=1, max_size=3, unique=True))
    forwards, taken = [], set[tuple[str, str, int]]()
    for protocol, public, (first, last) in draw(
        st.lists(
            st.tuples(
                st.sampled_from([Protocol.TCP, Protocol.UDP]), st.sampled_from(addresses), ranges
            ),
            max_size=5,
        )
    ):
        ports = {(protocol, public, port) for port in range(first, last + 1)}
        if ports & taken:
            continue
        taken |= ports
        to_port = draw(st.sampled_from([first, draw(st.integers(1, 65_535 - (last - first)))]))
        forwards.append(
            PortForward(
                protocol=protocol,
                public=public,
                first_port=first,
                last_port=last,
                to=draw(hosts_in(cidr)),
                to_port=to_port,
            )
        )
    return wish(
        cidr=str(cidr),
        gateway=str(cidr[1]),
        domain=draw(domains),
        mtu=draw(st.integers(576, 9216)),
        public=PublicPort(
            vlan=50,
            address=addresses[0],
            prefix=24,
            gateway="203.0.113.1",
            further=tuple(addresses[1:]),
        ),
        forwards=tuple(forwards),
        firewall=tuple(draw(st.lists(openings(addresses), max_size=5))),
        resolvers=tuple(draw(st.lists(publics, max_size=2))),
    )


@st.composite
def openings(draw: st.DrawFn, addresses: list[str]) -> FirewallRule:
    direction = draw(st.sampled_from(Direction))
    protocol = draw(st.sampled_from(Protocol))
    first, last = (0, 0) if protocol is Protocol.ICMP else draw(st.one_of(st.just((0, 0)), ranges))
    return FirewallRule(
        direction=direction,
        protocol=protocol,
        cidr=draw(outsides),
        public=draw(st.sampled_from(addresses)) if direction is Direction.IN else "",
        first_port=first,
        last_port=last,
    )


@st.composite
def leases_in(draw: st.DrawFn, cidr: IPv4Network) -> list[LeaseWish]:
    addresses = draw(st.lists(hosts_in(cidr), max_size=8, unique=True))
    return [
        lease(
            n,
            address=address,
            mac=f"02:{IPv4Address(address).packed.hex(':')}:01",
            name=draw(labels),
        )
        for n, address in enumerate(addresses)
    ]


def spoiled(good: ApplianceWish, field: str, text: str) -> ApplianceWish:
    """The wish with that text where it doesn't belong."""
    assert good.public
    match field:
        case "public.address" | "public.gateway":
            return replace(good, public=replace(good.public, **{field.partition(".")[2]: text}))
        case "public.further":
            return replace(good, public=replace(good.public, further=(text,)))
        case "forward.public" | "forward.to":
            return replace(good, forwards=(forward(**{field.partition(".")[2]: text}),))
        case "opening.public" | "opening.cidr":
            return replace(good, firewall=(opening(**{field.partition(".")[2]: text}),))
        case "resolvers":
            return replace(good, resolvers=(text,))
        case _:
            return replace(good, **{field: text})


FIELDS = [
    "network",
    "cidr",
    "gateway",
    "domain",
    "public.address",
    "public.gateway",
    "public.further",
    "forward.public",
    "forward.to",
    "opening.public",
    "opening.cidr",
    "resolvers",
]
