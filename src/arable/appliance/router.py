"""A router as typed values, checked once. Nothing else is rendered into configuration.

A wish is text that came a long way. Whatever reaches a configuration file passes here and becomes an address, a
number or a name of letters, digits and hyphens: values that can't hold a line break or a directive, whoever made
them (a newline in a DHCP option was enough to configure a peer's dnsmasq). What doesn't fit is refused as a whole,
before anything is touched, and names the field; the router goes on with what it has.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from arable.domain.errors import BadInput
from arable.domain.ids import NetworkId, check
from arable.domain.manifest import (
    ApplianceWish,
    Direction,
    FirewallRule,
    LeaseWish,
    PortForward,
    Protocol,
    PublicPort,
)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
_LONGEST_DOMAIN = 190  # leaves room for a label of 63 before it
_LAST_PORT = 65_535
_HAVE_PORTS = (Protocol.TCP, Protocol.UDP)


@dataclass(frozen=True, slots=True)
class Ports:
    """From `first` to `last`; all of them when both are 0."""

    first: int = 0
    last: int = 0

    def __contains__(self, port: int) -> bool:
        return not self.last or self.first <= port <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """Where the world is. The first address is that of source NAT."""

    vlan: int
    address: IPv4Address
    prefix: int
    gateway: IPv4Address
    further: tuple[IPv4Address, ...]

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        return (self.address, *self.further)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """What comes to `public` on one of `ports` goes to `to`, the first of them to `to_port`."""

    protocol: Protocol  # TCP or UDP
    public: IPv4Address
    ports: Ports
    to: IPv4Address
    to_port: int

    def target(self, port: int) -> int:
        """Where a public port leads to."""
        return self.to_port + port - self.ports.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Traffic of `protocol` with `outside` may pass; inbound, to `public`. Only TCP and UDP have ports."""

    protocol: Protocol
    outside: IPv4Network
    ports: Ports
    public: IPv4Address | None = None

    def admits(self, protocol: Protocol, outside: IPv4Address, port: int) -> bool:
        """Whether this lets such traffic pass."""
        return (
            self.protocol in (Protocol.ALL, protocol)
            and outside in self.outside
            and port in self.ports
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """All that a routing appliance is, but for its leases."""

    network: NetworkId
    vlan: int
    cidr: IPv4Network
    gateway: IPv4Address
    domain: str
    mtu: int
    out: WayOut | None
    forwards: tuple[Forward, ...]
    inbound: tuple[Opening, ...]
    outbound: tuple[Opening, ...]  # none: everything may leave
    resolvers: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A machine's MAC, address and name."""

    mac: str
    address: IPv4Address
    name: str


def router(wish: ApplianceWish) -> Router:
    """The wish as typed values. Raises `BadInput` naming the field that can't be."""
    cidr = _network(wish.cidr, "cidr")
    if not 8 <= cidr.prefixlen <= 30:
        raise BadInput(f"{cidr} is too large or too small for a guest network", field="cidr")
    gateway = _host_of(cidr, wish.gateway, "gateway")
    if not 576 <= wish.mtu <= 9216:
        raise BadInput(f"{wish.mtu} is no MTU", field="mtu")
    out = _way_out(wish.public, cidr) if wish.public else None
    publics = out.addresses if out else ()
    forwards = tuple(
        forward
        for index, asked in enumerate(wish.forwards)
        for forward in _forwards(asked, publics, cidr, gateway, f"forwards.{index}")
    )
    _apart(forwards)
    inbound: list[Opening] = []
    outbound: list[Opening] = []
    for index, rule in enumerate(wish.firewall):
        field = f"firewall.{index}"
        if rule.direction is Direction.IN:
            public = _address(rule.public, f"{field}.public")
            inbound += _openings(rule, field, _ours(public, publics, f"{field}.public"))
        else:
            outbound += _openings(rule, field, None)
    return Router(
        network=NetworkId(check("network", wish.network, "network")),
        vlan=wish.vlan,
        cidr=cidr,
        gateway=gateway,
        domain=_domain(wish.domain),
        mtu=wish.mtu,
        out=out,
        forwards=forwards,
        inbound=tuple(inbound),
        outbound=tuple(outbound),
        resolvers=tuple(
            _address(text, f"resolvers.{index}") for index, text in enumerate(wish.resolvers)
        ),
    )


def leases(of: Router, wishes: Iterable[LeaseWish]) -> tuple[Lease, ...]:
    """The leases in order of address. Two with the same MAC or address can't be (rule 3)."""
    made: list[Lease] = []
    for wish in wishes:
        field = f"leases.{wish.nic}"
        if wish.network != of.network:
            raise BadInput(f"{wish.nic} is not on {of.network}", field=f"{field}.network")
        address = _host_of(of.cidr, wish.address, f"{field}.address")
        if address == of.gateway:
            raise BadInput(f"{address} is the router's", field=f"{field}.address")
        mac = wish.mac.lower()
        if not _MAC.fullmatch(mac):
            raise BadInput(f"{wish.mac!r} is no MAC of a device", field=f"{field}.mac")
        made.append(Lease(mac=mac, address=address, name=_label(wish.name, f"{field}.name")))
    for what, values in (
        ("mac", [lease.mac for lease in made]),
        ("address", [str(lease.address) for lease in made]),
    ):
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise BadInput(f"two leases have {twice}", field=f"leases.{what}")
    return tuple(sorted(made, key=lambda lease: lease.address))


def _way_out(asked: PublicPort, cidr: IPv4Network) -> WayOut:
    if not 1 <= asked.prefix <= 32:
        raise BadInput(f"{asked.prefix} is no prefix length", field="public.prefix")
    further = [
        _address(text, f"public.further.{index}") for index, text in enumerate(asked.further)
    ]
    out = WayOut(
        vlan=asked.vlan,
        address=_address(asked.address, "public.address"),
        prefix=asked.prefix,
        gateway=_address(asked.gateway, "public.gateway"),
        further=tuple(further),
    )
    if len(set(out.addresses)) < len(out.addresses):
        raise BadInput("a public address is named twice", field="public.further")
    for address in (*out.addresses, out.gateway):
        if address in cidr or not _ordinary(address):
            raise BadInput(f"{address} can't be a public address here", field="public")
    return out


def _forwards(
    asked: PortForward,
    publics: Sequence[IPv4Address],
    cidr: IPv4Network,
    gateway: IPv4Address,
    field: str,
) -> list[Forward]:
    """One for each protocol. `all` means both that have ports."""
    if asked.protocol is Protocol.ICMP:
        raise BadInput("ICMP has no ports to forward", field=f"{field}.protocol")
    protocols = _HAVE_PORTS if asked.protocol is Protocol.ALL else (asked.protocol,)
    ports = _ports(asked.first_port, asked.last_port, field)
    last = asked.to_port + asked.last_port - asked.first_port
    if not ports.last or not 1 <= asked.to_port <= last <= _LAST_PORT:
        raise BadInput("the ports do not lead to ports", field=f"{field}.to_port")
    public = _ours(_address(asked.public, f"{field}.public"), publics, f"{field}.public")
    to = _host_of(cidr, asked.to, f"{field}.to")
    if to == gateway:
        raise BadInput("nothing is forwarded to the router itself", field=f"{field}.to")
    return [
        Forward(protocol=protocol, public=public, ports=ports, to=to, to_port=asked.to_port)
        for protocol in protocols
    ]


def _apart(forwards: Sequence[Forward]) -> None:
    """A public port leads to one place."""
    order = sorted(forwards, key=lambda f: (f.public, f.protocol, f.ports.first))
    for one, other in itertools.pairwise(order):
        same = (one.public, one.protocol) == (other.public, other.protocol)
        if same and other.ports.first <= one.ports.last:
            raise BadInput(
                f"port {other.ports.first} of {other.public} leads to two places", field="forwards"
            )


def _openings(rule: FirewallRule, field: str, public: IPv4Address | None) -> list[Opening]:
    ports = _ports(rule.first_port, rule.last_port, field)
    if rule.protocol is Protocol.ICMP and ports.last:
        raise BadInput("ICMP has no ports", field=f"{field}.first_port")
    outside = _network(rule.cidr, f"{field}.cidr")
    both = rule.protocol is Protocol.ALL and ports.last
    return [
        Opening(protocol=protocol, outside=outside, ports=ports, public=public)
        for protocol in (_HAVE_PORTS if both else (rule.protocol,))
    ]


def _ports(first: int, last: int, field: str) -> Ports:
    if (first, last) != (0, 0) and not 1 <= first <= last <= _LAST_PORT:
        raise BadInput(f"{first} to {last} is no range of ports", field=f"{field}.first_port")
    return Ports(first, last)


def _ours(address: IPv4Address, publics: Sequence[IPv4Address], field: str) -> IPv4Address:
    if address not in publics:
        raise BadInput(f"{address} is no public address of this network", field=field)
    return address


def _address(text: str, field: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise BadInput(f"{text!r} is no IPv4 address", field=field) from None


def _network(text: str, field: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError:
        raise BadInput(f"{text!r} is no IPv4 network", field=field) from None


def _host_of(cidr: IPv4Network, text: str, field: str) -> IPv4Address:
    address = _address(text, field)
    if address not in cidr or address in (cidr.network_address, cidr.broadcast_address):
        raise BadInput(f"{address} is no address for a machine in {cidr}", field=field)
    return address


def _ordinary(address: IPv4Address) -> bool:
    return not (
        address.is_multicast
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or int(address) >= 0xF0000000
    )


def _domain(text: str) -> str:
    labels = text.lower().split(".")
    if len(text) > _LONGEST_DOMAIN or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadInput(f"{text!r} is no DNS domain", field="domain")
    return text.lower()


def _label(text: str, field: str) -> str:
    if not _LABEL.fullmatch(text.lower()):
        raise BadInput(f"{text!r} is no host name", field=field)
    return text.lower()
