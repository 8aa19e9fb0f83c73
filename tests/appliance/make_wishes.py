"""Wishes for routers: honest ones, made by chance, and ones in which somebody put what doesn't belong there."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import strategies as st

from arable.domain.ids import NetworkId, NicId, VpnId, VpnPeerId
from arable.domain.manifest import (
    ApplianceWish,
    Direction,
    FirewallRule,
    LeaseWish,
    LinkPort,
    Neighbour,
    Passage,
    PortForward,
    Protocol,
    PublicPort,
    StaticNat,
)
from arable.domain.vpn import VpnOpening, VpnPeerWish, VpnWish

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


def static(**but: Any) -> StaticNat:
    return StaticNat(**{"public": "203.0.113.11", "to": "10.1.1.10"} | but)


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


def near(**but: Any) -> Neighbour:
    return Neighbour(**{"cidr": "10.1.2.0/24", "via": "169.254.64.102"} | but)


def link(**but: Any) -> LinkPort:
    usual: dict[str, Any] = {"vlan": 300, "address": "169.254.64.100", "neighbours": (near(),)}
    return LinkPort(**usual | but)


def passage(**but: Any) -> Passage:
    """To the neighbour, unless said otherwise."""
    usual: dict[str, Any] = {
        "source": "10.1.1.0/24",
        "target": "10.1.2.0/24",
        "protocol": Protocol.TCP,
        "first_port": 5432,
        "last_port": 5432,
    }
    return Passage(**usual | but)


KEYS = (
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=",
    "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBE=",
)


def peer(**but: Any) -> VpnPeerWish:
    usual: dict[str, Any] = {
        "id": VpnPeerId("vpn-000000000abcdefghijk"),
        "public_key": KEYS[1],
        "cidrs": ("172.21.0.0/24",),
        "endpoint": "198.51.100.7:51820",
    }
    return VpnPeerWish(**usual | but)


def vpn(**but: Any) -> VpnWish:
    """To a site, unless said otherwise."""
    usual: dict[str, Any] = {
        "id": VpnId("vpn-000000000abcdefghijk"),
        "public": "203.0.113.10",
        "port": 51820,
        "key": KEYS[0],
        "peers": (peer(),),
        "openings": (VpnOpening(protocol=Protocol.TCP, first_port=22, last_port=22),),
    }
    return VpnWish(**usual | but)


def access(**but: Any) -> VpnWish:
    """For one client."""
    laptop = peer(
        id=VpnPeerId("vpnclient-000000000abcdefghijk"), cidrs=("172.22.0.2/32",), endpoint=""
    )
    usual: dict[str, Any] = {
        "id": VpnId("access-000000000lmnopqrstuv"),
        "port": 51821,
        "cidr": "172.22.0.0/24",
        "peers": (laptop,),
        "openings": (VpnOpening(),),
    }
    return vpn(**usual | but)


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
    whole = [each for each in addresses[1:] if each not in {f.public for f in forwards}]
    owners = draw(st.lists(hosts_in(cidr), max_size=len(whole), unique=True))
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
        statics=tuple(static(public=a, to=b) for a, b in zip(whole, owners, strict=False)),
        firewall=tuple(draw(st.lists(openings(addresses), max_size=5))),
        resolvers=tuple(draw(st.lists(publics, max_size=2))),
        link=link(neighbours=(near(cidr=ELSEWHERE),)),
        passages=tuple(draw(st.lists(passages(str(cidr)), max_size=4))),
        vpns=(
            ()
            if any(
                f.public == addresses[0] and f.first_port <= 51821 and f.last_port >= 51820
                for f in forwards
            )
            else (vpn(public=addresses[0]), access(public=addresses[0]))
        ),
    )


ELSEWHERE = "172.20.0.0/24"
"""A neighbour of every honest wish; none of these is there itself."""


@st.composite
def passages(draw: st.DrawFn, cidr: str) -> Passage:
    protocol = draw(st.sampled_from(Protocol))
    first, last = (0, 0) if protocol is Protocol.ICMP else draw(st.one_of(st.just((0, 0)), ranges))
    source, target = draw(st.permutations([cidr, ELSEWHERE]))
    return Passage(
        source=source, target=target, protocol=protocol, first_port=first, last_port=last
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
        case "static.public" | "static.to":
            return replace(good, statics=(static(**{field.partition(".")[2]: text}),))
        case "opening.public" | "opening.cidr":
            return replace(good, firewall=(opening(**{field.partition(".")[2]: text}),))
        case "near.cidr" | "near.via":
            spoilt = near(**{field.partition(".")[2]: text})
            return replace(good, link=link(neighbours=(spoilt,)), passages=())
        case "link.address":
            return replace(good, link=link(address=text), passages=())
        case "passage.source" | "passage.target":
            bad = passage(**{field.partition(".")[2]: text})
            return replace(good, link=link(), passages=(bad,))
        case "vpn.id" | "vpn.public" | "vpn.key":
            return replace(good, vpns=(vpn(**{field.partition(".")[2]: text}),))
        case "access.cidr":
            return replace(good, vpns=(access(cidr=text or "x"),))
        case "peer.id" | "peer.public_key" | "peer.endpoint":
            spoilt_peer = peer(**{field.partition(".")[2]: text or "x"})
            return replace(good, vpns=(vpn(public=good.public.address, peers=(spoilt_peer,)),))
        case "peer.cidrs" | "peer.preshared":
            value: Any = (text,) if field == "peer.cidrs" else text or "x"
            spoilt_peer = peer(**{field.partition(".")[2]: value})
            return replace(good, vpns=(vpn(public=good.public.address, peers=(spoilt_peer,)),))
        case "admitted.cidr":
            bad_one = VpnOpening(cidr="::1" if text == "0.0.0.0/0" else text)
            return replace(good, vpns=(vpn(public=good.public.address, openings=(bad_one,)),))
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
    "static.public",
    "static.to",
    "opening.public",
    "opening.cidr",
    "resolvers",
    "near.cidr",
    "near.via",
    "link.address",
    "passage.source",
    "passage.target",
    "vpn.id",
    "vpn.public",
    "vpn.key",
    "access.cidr",
    "peer.id",
    "peer.public_key",
    "peer.endpoint",
    "peer.cidrs",
    "peer.preshared",
    "admitted.cidr",
]
