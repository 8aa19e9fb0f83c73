"""The packet filter of a routing appliance, as one text that nft loads in one transaction.

The old table goes and the new one comes at the same instant: no packet ever meets half a ruleset. Connections live
in the kernel's connection table, not here, so those that stay allowed are not touched (`connections.py` finds those
that don't).

Inbound rules look at where a packet was sent *before* it was forwarded (`ct original`), as that is what a rule is
about. A guest that calls its own network's public address goes through the same rules and comes back (hairpin).
"""

from collections.abc import Iterator

from arable.appliance.balancing import Balanced
from arable.appliance.between import Passing
from arable.appliance.metadata import ADDRESS as METADATA
from arable.appliance.pair import GUESTS, LINK, PUBLIC, SYNC_PORT, VRRP
from arable.appliance.router import Forward, Opening, Router
from arable.appliance.six import Six
from arable.appliance.tunnels import Admitted, Tunnel
from arable.appliance.values import Ports
from arable.domain.manifest import Protocol
from arable.domain.pair import PAIRS

TABLE = "router"
MANAGEMENT = "eth1"

_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"


def ruleset(router: Router) -> str:
    """All rules of the appliance, in place of those it had."""
    chains = [
        _chain("forwarding", "filter hook forward priority filter; policy drop;", _forward(router)),
        _chain("outward", "", _outward(router)),
        _chain("inward", "", (_inward(opening) for opening in router.inbound if opening.public)),
        *([_chain("inward6", "", map(_inward6, _of_six(router)))] if router.six else ()),
        _chain("between", "", map(_passing, router.passings)),
        *(_chain(each.interface, "", map(_admitted, each.admitted)) for each in router.tunnels),
        _chain("to_router", "filter hook input priority filter; policy drop;", _input(router)),
        _chain("from_router", "filter hook output priority filter; policy accept;", _output()),
        _chain("arriving", "nat hook prerouting priority dstnat; policy accept;", _dnat(router)),
        _chain("leaving", "nat hook postrouting priority srcnat; policy accept;", _snat(router)),
    ]
    begin = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
    return f"{begin}table inet {TABLE} {{\n{''.join(chains)}}}\n"


def _chain(name: str, hook: str, rules: Iterator[str]) -> str:
    lines = [f"type {hook}"] if hook else []
    body = "".join(f"    {line}\n" for line in (*lines, *rules))
    return f"  chain {name} {{\n{body}  }}\n"


def _forward(router: Router) -> Iterator[str]:
    yield "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
    yield "ct state established,related accept"
    yield "ct state invalid drop"
    yield f'iifname "{GUESTS}" oifname "{LINK}" ip saddr {router.cidr} jump between'
    yield f'iifname "{LINK}" oifname "{GUESTS}" ip daddr {router.cidr} jump between'
    yield f'iifname "{GUESTS}" oifname "{PUBLIC}" ip saddr {router.cidr} jump outward'
    yield f'iifname {{ "{GUESTS}", "{PUBLIC}" }} oifname "{GUESTS}" ct status dnat jump inward'
    if router.six:
        cidr6 = router.six.cidr
        yield f'iifname "{GUESTS}" oifname "{PUBLIC}" ip6 saddr {cidr6} jump outward'
        yield f'iifname "{PUBLIC}" oifname "{GUESTS}" ip6 daddr {cidr6} ip6 saddr != {cidr6} jump inward6'
        if router.six.near:
            yield from _between_six(router.six)
    for each in router.tunnels:
        if each.behind:
            there, far = each.interface, _any_of(each)
            yield f'iifname "{GUESTS}" oifname "{there}" ip saddr {router.cidr} ip daddr {far} jump outward'
            yield f'iifname "{there}" oifname "{GUESTS}" ip saddr {far} ip daddr {router.cidr} jump {there}'


def _between_six(six: Six) -> Iterator[str]:
    """By the passages; and since neighbours' machines have no other addresses outside, also what the edge would let by.

    So a rule between two networks takes nothing away that goes round by the world without it.
    """
    leaves = f'iifname "{GUESTS}" oifname "{LINK}" ip6 saddr {six.cidr}'
    comes = f'iifname "{LINK}" oifname "{GUESTS}" ip6 saddr {_near(six)} ip6 daddr {six.cidr}'
    yield f"{leaves} jump between"
    yield f"{comes} jump between"
    if six.upstream:
        yield f"{leaves} jump outward"
        yield f"{comes} jump inward6"


def _near(six: Six) -> str:
    return f"{{ {', '.join(str(each.cidr) for each in six.near)} }}"


def _outward(router: Router) -> Iterator[str]:
    if not router.outbound:
        yield "accept"
    for opening in router.outbound:
        family = "ip6" if opening.outside.version == 6 else "ip"
        yield f"{family} daddr {opening.outside} {_to_ports(opening, 'th dport')}accept"


def _of_six(router: Router) -> Iterator[Opening]:
    return (opening for opening in router.inbound if opening.public is None)


def _inward6(opening: Opening) -> str:
    return f"ip6 saddr {opening.outside} {_to_ports(opening, 'th dport')}accept"


def _inward(opening: Opening) -> str:
    return (
        f"ct original ip daddr {opening.public} ip saddr {opening.outside} "
        f"{_to_ports(opening, 'ct original proto-dst')}accept"
    )


def _passing(each: Passing) -> str:
    family = "ip6" if each.source.version == 6 else "ip"
    ends = f"{family} saddr {each.source} {family} daddr {each.target}"
    return f"{ends} {_to_ports(each, 'th dport')}accept"


def _admitted(each: Admitted) -> str:
    return f"ip saddr {each.source} {_to_ports(each, 'th dport')}accept"


def _any_of(tunnel: Tunnel) -> str:
    return f"{{ {', '.join(map(str, tunnel.behind))} }}"


def _to_ports(opening: Opening | Passing | Admitted, what: str) -> str:
    """Matches of protocol and port; nothing when all are meant."""
    end = opening.outside if isinstance(opening, Opening) else opening.source
    named = (
        "ipv6-icmp" if end.version == 6 and opening.protocol is Protocol.ICMP else opening.protocol
    )
    kind = "" if opening.protocol is Protocol.ALL else f"meta l4proto {named} "
    ports = f"{what} {_range(opening.ports)} " if opening.ports.last else ""
    return kind + ports


def _range(ports: Ports) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"


def _input(router: Router) -> Iterator[str]:
    yield 'iifname "lo" accept'
    yield "ct state established,related accept"
    yield "ct state invalid drop"
    yield f'iifname "{GUESTS}" udp sport 68 udp dport 67 accept'
    here = f'iifname "{GUESTS}" ip saddr {router.cidr}'
    yield f"{here} ip daddr {METADATA} tcp dport 80 accept"
    asked = f"{here} ip daddr {router.gateway}"
    yield f"{asked} meta l4proto {{ tcp, udp }} th dport 53 accept"
    yield f"{asked} icmp type echo-request accept"
    yield f'iifname "{MANAGEMENT}" icmpv6 type echo-request accept'
    yield f'iifname "{MANAGEMENT}" {_NEIGHBOURS} accept'
    if router.six:
        yield from _called_by_six(router.six)
    if router.pair:  # who else may speak to it so is said where frames come in (`pair.py`)
        told = f'iifname "{GUESTS}" ip saddr {PAIRS}'
        yield f"{told} meta l4proto {VRRP} accept"
        yield f"{told} udp dport {SYNC_PORT} accept"
    for each in router.balancers:
        if each.port:
            yield from _called(router, each)
    for tunnel in router.tunnels:
        yield f'iifname "{PUBLIC}" ip daddr {tunnel.public} udp dport {tunnel.port} accept'
        if tunnel.behind:
            there = (
                f'iifname "{tunnel.interface}" ip saddr {_any_of(tunnel)} ip daddr {router.gateway}'
            )
            yield f"{there} icmp type echo-request accept"
            if tunnel.clients:
                yield f"{there} meta l4proto {{ tcp, udp }} th dport 53 accept"
    for opening in router.inbound:
        if opening.public and opening.protocol in (Protocol.ICMP, Protocol.ALL):
            yield (
                f'iifname "{PUBLIC}" ip daddr {opening.public} ip saddr {opening.outside} '
                "icmp type echo-request accept"
            )


def _called_by_six(six: Six) -> Iterator[str]:
    """Guests ask it for the way, their addresses and names; outside it is a neighbour, and answers for its guests."""
    discovery = "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }"
    yield f'iifname "{GUESTS}" ip6 hoplimit 255 {discovery} accept'
    yield f'iifname "{GUESTS}" ip6 saddr fe80::/10 udp sport 546 udp dport 547 accept'
    asked = f'iifname "{GUESTS}" ip6 saddr {{ {six.cidr}, fe80::/10 }}'
    here = f"ip6 daddr {{ {six.gateway}, fe80::/10 }}"
    yield f"{asked} {here} meta l4proto {{ tcp, udp }} th dport 53 accept"
    yield f"{asked} {here} icmpv6 type echo-request accept"
    if six.upstream:
        yield f'iifname "{PUBLIC}" ip6 hoplimit 255 {_NEIGHBOURS} accept'
    if six.near:
        yield f'iifname "{LINK}" ip6 hoplimit 255 {_NEIGHBOURS} accept'


def _called(router: Router, each: Balanced) -> Iterator[str]:
    """Who may call a balancer. One at the gateway is called by its network, and from where a passage leads to its port.

    From a site whatever may begin to that port.
    """
    rest = f"ip daddr {each.at} ip saddr {each.clients} tcp dport {each.port} accept"
    if not each.inner:
        yield f'iifname {{ "{GUESTS}", "{PUBLIC}" }} {rest}'
        if router.six and each.at6:
            six = f"ip6 daddr {each.at6} ip6 saddr {each.clients6} tcp dport {each.port} accept"
            yield f'iifname {{ "{GUESTS}", "{PUBLIC}" }} {six}'
            if router.six.near:
                yield f'iifname "{LINK}" ip6 saddr {_near(router.six)} {six}'
        return
    yield f'iifname "{GUESTS}" ip saddr {router.cidr} {rest}'
    for passing in router.passings:
        if passing.leads_to(Protocol.TCP, each.at, each.port):
            yield f'iifname "{LINK}" ip saddr {passing.source} {rest}'
    for tunnel in router.tunnels:
        if tunnel.behind:
            for opening in tunnel.leading_to(Protocol.TCP, each.port):
                behind = f"ip saddr {_any_of(tunnel)} ip saddr {opening.source}"
                yield f'iifname "{tunnel.interface}" {behind} {rest}'


def _output() -> Iterator[str]:
    """The appliance answers the host, and never calls it."""
    yield f'oifname "{MANAGEMENT}" {_NEIGHBOURS} accept'
    yield f'oifname "{MANAGEMENT}" ct state established accept'
    yield f'oifname "{MANAGEMENT}" drop'


def _dnat(router: Router) -> Iterator[str]:
    for static in router.statics:
        arrived = f'iifname {{ "{GUESTS}", "{PUBLIC}" }} ip daddr {static.public}'
        yield f"{arrived} dnat ip to {static.to}"
    for forward in router.forwards:
        protocol, ports = forward.protocol, forward.ports
        arrived = f'iifname {{ "{GUESTS}", "{PUBLIC}" }} ip daddr {forward.public} '
        if forward.to_port == ports.first:
            yield f"{arrived}{protocol} dport {_range(ports)} dnat ip to {forward.to}"
        elif ports.first == ports.last:
            to = f"{forward.to}:{forward.to_port}"
            yield f"{arrived}{protocol} dport {ports.first} dnat ip to {to}"
        else:
            # The kernel would choose any port of a target range; a shifted one is told port by port.
            yield f"{arrived}dnat ip to {protocol} dport map {{ {_shifted(forward)} }}"


def _shifted(forward: Forward) -> str:
    ports = range(forward.ports.first, forward.ports.last + 1)
    return ", ".join(f"{port} : {forward.to} . {forward.target(port)}" for port in ports)


def _snat(router: Router) -> Iterator[str]:
    for static in router.statics:
        yield f'oifname "{PUBLIC}" ip saddr {static.to} snat ip to {static.public}'
    if router.out:
        for tunnel in router.tunnels:
            if (
                tunnel.public != router.out.address
            ):  # where it calls first, it is known by its own address
                ours = f'oifname "{PUBLIC}" ip saddr {router.out.address} udp sport {tunnel.port}'
                yield f"{ours} snat ip to {tunnel.public}"
        yield f'oifname "{PUBLIC}" ip saddr {router.cidr} snat ip to {router.out.address}'
    yield f'oifname "{GUESTS}" ip saddr {router.cidr} ct status dnat masquerade'
