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
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from arable.appliance.balancing import Balanced, balanced
from arable.appliance.between import Link, Passing, link, passing
from arable.appliance.names import LABEL, Named, named
from arable.appliance.pair import Paired, paired
from arable.appliance.six import Six, machine_in, six
from arable.appliance.tunnels import Tunnel, tunnels
from arable.appliance.values import (
    LAST_PORT,
    Ports,
    either_network,
    host_in,
    own_public,
    ports_of,
    to_address,
    to_network,
)
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
    Seed,
    StaticNat,
)

_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
_LONGEST_DOMAIN = 190  # leaves room for a label of 63 before it
_HAVE_PORTS = (Protocol.TCP, Protocol.UDP)


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
class Static:
    """`public` is the machine `to`, both ways."""

    public: IPv4Address
    to: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Traffic of `protocol` with `outside` may pass; inbound, to `public`. Only TCP and UDP have ports.

    An inbound one of IPv6 has no `public`: it is about all machines of the network.
    """

    protocol: Protocol
    outside: IPv4Network | IPv6Network
    ports: Ports
    public: IPv4Address | None = None

    def admits(self, protocol: Protocol, outside: IPv4Address | IPv6Address, port: int) -> bool:
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
    statics: tuple[Static, ...]
    balancers: tuple[Balanced, ...]
    inbound: tuple[Opening, ...]
    outbound: tuple[Opening, ...]  # none: everything may leave
    resolvers: tuple[IPv4Address, ...]
    epoch: int = 0  # of the host that runs it: a lower one gives way to a higher
    isolated: bool = False  # no way out, so DHCP names no router
    restarts: int = 0  # how often it was to be made anew
    link: Link | None = None
    passings: tuple[Passing, ...] = ()  # those that are not in here do not begin
    tunnels: tuple[Tunnel, ...] = ()
    names: tuple[Named, ...] = ()  # beside those of leases
    pair: Paired | None = None
    six: Six | None = None

    def seen_as(self, machine: IPv4Address) -> IPv4Address | None:
        """The public address that a machine has outside: its own, or else that of all."""
        own = (each.public for each in self.statics if each.to == machine)
        return next(own, self.out.address if self.out else None)

    @property
    def names_itself(self) -> bool:
        """Whether it leads anywhere, so that DHCP names it as the way."""
        return not self.isolated or self.link is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A machine's MAC, address and name. An `inner` one leads to this network alone: its way out is elsewhere.

    Cloud-init data (`seed`) is for the machine's own eyes, and reaches no configuration.
    """

    mac: str
    address: IPv4Address
    name: str
    inner: bool = False
    seed: Seed | None = None
    ipv6: IPv6Address | None = None


def router(wish: ApplianceWish) -> Router:
    """The wish as typed values. Raises `BadInput` naming the field that can't be."""
    cidr = to_network(wish.cidr, "cidr")
    if not 8 <= cidr.prefixlen <= 30:
        raise BadInput(f"{cidr} is too large or too small for a guest network", field="cidr")
    gateway = host_in(cidr, wish.gateway, "gateway")
    if not 576 <= wish.mtu <= 9216:
        raise BadInput(f"{wish.mtu} is no MTU", field="mtu")
    if wish.isolated and wish.public:
        raise BadInput("an isolated network has no way out", field="public")
    out = _way_out(wish.public, cidr) if wish.public else None
    publics = out.addresses if out else ()
    forwards = tuple(
        forward
        for index, asked in enumerate(wish.forwards)
        for forward in _forwards(asked, publics, cidr, gateway, f"forwards.{index}")
    )
    _apart(forwards)
    statics = tuple(
        _static(asked, publics, cidr, gateway, f"statics.{index}")
        for index, asked in enumerate(wish.statics)
    )
    joined = link(wish.link, cidr) if wish.link else None
    of_six = _six(wish, out, joined)
    balancers = balanced(wish.balancers, wish.inners, publics, cidr, gateway, of_six)
    led = tunnels(wish.vpns, publics, [cidr, *(joined.cidrs if joined else ())])
    _whole(statics, forwards, balancers, out)
    _ports_of_tunnels(led, forwards, statics)
    inbound: list[Opening] = []
    outbound: list[Opening] = []
    for index, rule in enumerate(wish.firewall):
        field = f"firewall.{index}"
        if rule.direction is Direction.IN:
            inbound += _openings(rule, field, _about(rule, publics, f"{field}.public"))
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
        statics=statics,
        balancers=balancers,
        inbound=tuple(inbound),
        outbound=tuple(outbound),
        resolvers=tuple(
            to_address(text, f"resolvers.{index}") for index, text in enumerate(wish.resolvers)
        ),
        epoch=wish.epoch,
        isolated=wish.isolated,
        restarts=wish.restarts,
        link=joined,
        passings=passing(wish.passages, cidr, joined.near if joined else ())
        + (of_six.passings if of_six else ()),
        tunnels=led,
        names=named(wish.names, cidr, joined, led),
        pair=paired(wish.pair) if wish.pair else None,
        six=of_six,
    )


def _six(wish: ApplianceWish, out: WayOut | None, joined: Link | None) -> Six | None:
    if wish.ipv6 is None:
        return None
    return six(wish.ipv6, has_way_out=out is not None, mtu=wish.mtu, joined=joined)


def _about(rule: FirewallRule, publics: Sequence[IPv4Address], field: str) -> IPv4Address | None:
    """The public address that an inbound rule is for; None of one for IPv6, which has none."""
    if ":" in rule.cidr and not rule.public:
        return None
    return own_public(to_address(rule.public, field), publics, field)


def leases(of: Router, wishes: Iterable[LeaseWish]) -> tuple[Lease, ...]:
    """The leases in order of address. Two with the same MAC or address can't be (rule 3)."""
    made: list[Lease] = []
    for wish in wishes:
        field = f"leases.{wish.nic}"
        if wish.network != of.network:
            raise BadInput(f"{wish.nic} is not on {of.network}", field=f"{field}.network")
        address = host_in(of.cidr, wish.address, f"{field}.address")
        if address == of.gateway:
            raise BadInput(f"{address} is the router's", field=f"{field}.address")
        mac = wish.mac.lower()
        if not _MAC.fullmatch(mac):
            raise BadInput(f"{wish.mac!r} is no MAC of a device", field=f"{field}.mac")
        name = _label(wish.name, f"{field}.name")
        ipv6 = machine_in(of.six, wish.ipv6, f"{field}.ipv6")
        made.append(
            Lease(mac=mac, address=address, name=name, inner=wish.inner, seed=wish.seed, ipv6=ipv6)
        )
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
        to_address(text, f"public.further.{index}") for index, text in enumerate(asked.further)
    ]
    out = WayOut(
        vlan=asked.vlan,
        address=to_address(asked.address, "public.address"),
        prefix=asked.prefix,
        gateway=to_address(asked.gateway, "public.gateway"),
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
    ports = ports_of(asked.first_port, asked.last_port, field)
    last = asked.to_port + asked.last_port - asked.first_port
    if not ports.last or not 1 <= asked.to_port <= last <= LAST_PORT:
        raise BadInput("the ports do not lead to ports", field=f"{field}.to_port")
    public = own_public(to_address(asked.public, f"{field}.public"), publics, f"{field}.public")
    to = host_in(cidr, asked.to, f"{field}.to")
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


def _static(
    asked: StaticNat,
    publics: Sequence[IPv4Address],
    cidr: IPv4Network,
    gateway: IPv4Address,
    field: str,
) -> Static:
    to = host_in(cidr, asked.to, f"{field}.to")
    if to == gateway:
        raise BadInput("no address is the router's alone", field=f"{field}.to")
    public = own_public(to_address(asked.public, f"{field}.public"), publics, f"{field}.public")
    return Static(public=public, to=to)


def _whole(
    statics: Sequence[Static],
    forwards: Sequence[Forward],
    balancers: Sequence[Balanced],
    out: WayOut | None,
) -> None:
    """An address that is one machine's leads nowhere else, a machine goes out by one address, and a port has one use."""
    for values in ([each.public for each in statics], [each.to for each in statics]):
        if len(set(values)) < len(values):
            raise BadInput("static NAT leads one address to one machine", field="statics")
    for led in balancers:
        if any(
            forward.public == led.at
            and forward.protocol is Protocol.TCP
            and led.port in forward.ports
            for forward in forwards
        ):
            raise BadInput(f"port {led.port} of {led.at} is forwarded", field="balancers")
    taken = {forward.public for forward in forwards} | {led.at for led in balancers}
    taken |= {out.address} if out else set()
    for each in statics:
        if each.public in taken:
            raise BadInput(f"{each.public} has other uses", field="statics")


def _ports_of_tunnels(
    led: Sequence[Tunnel], forwards: Sequence[Forward], statics: Sequence[Static]
) -> None:
    """What comes to a tunnel's port leads nowhere else."""
    for each in led:
        if any(
            forward.public == each.public
            and forward.protocol is Protocol.UDP
            and each.port in forward.ports
            for forward in forwards
        ):
            raise BadInput(f"port {each.port} of {each.public} is forwarded", field="vpns")
        if any(static.public == each.public for static in statics):
            raise BadInput(f"{each.public} is one machine's", field="vpns")


def _openings(rule: FirewallRule, field: str, public: IPv4Address | None) -> list[Opening]:
    ports = ports_of(rule.first_port, rule.last_port, field)
    if rule.protocol is Protocol.ICMP and ports.last:
        raise BadInput("ICMP has no ports", field=f"{field}.first_port")
    outside = either_network(rule.cidr, f"{field}.cidr")
    if outside.version == 6 and public is not None:
        raise BadInput("a public address is one of IPv4", field=f"{field}.cidr")
    both = rule.protocol is Protocol.ALL and ports.last
    return [
        Opening(protocol=protocol, outside=outside, ports=ports, public=public)
        for protocol in (_HAVE_PORTS if both else (rule.protocol,))
    ]


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
    if len(text) > _LONGEST_DOMAIN or not all(LABEL.fullmatch(label) for label in labels):
        raise BadInput(f"{text!r} is no DNS domain", field="domain")
    return text.lower()


def _label(text: str, field: str) -> str:
    if not LABEL.fullmatch(text.lower()):
        raise BadInput(f"{text!r} is no host name", field=field)
    return text.lower()
