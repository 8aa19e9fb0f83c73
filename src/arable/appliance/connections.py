"""Which connections a router's rules still allow.

Packets of a connection that was once allowed pass without being asked again: that is what keeps connections alive
while rules change. So when a rule is taken back, connections that lived by it have to be ended by hand. These are
the rules of `nftables.py` once more, applied to the kernel's table of connections.
"""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from arable.appliance.metadata import ADDRESS as METADATA
from arable.appliance.router import Router
from arable.domain.balancer import NAMES_PORT
from arable.domain.manifest import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connection as its first packet was, and the addresses that answers to it have."""

    protocol: Protocol
    source: IPv4Address
    target: IPv4Address
    port: int  # of the target; 0 without ports
    answers_from: IPv4Address
    answers_from_port: int
    answers_to: IPv4Address


def stays(router: Router, connection: Connection) -> bool:
    """Whether the router would let this connection begin now, in the way it goes. Its own ones always stay."""
    publics = router.out.addresses if router.out else ()
    for tunnel in router.tunnels:
        if connection.target in router.cidr and tunnel.is_behind(connection.source):
            return tunnel.admits(connection.protocol, connection.source, connection.port)
        if connection.source in router.cidr and tunnel.is_behind(connection.target):
            untranslated = connection.answers_to == connection.source
            known = tunnel.knows(connection.target)
            return untranslated and known and _may_leave(router, connection)
    if _calls_router(router, connection) and not _balanced(router, connection):
        return False
    if _is_between(router, connection, publics):
        return any(
            each.admits(connection.protocol, connection.source, connection.target, connection.port)
            for each in router.passings
        )
    to_guest = connection.answers_from in router.cidr and connection.answers_from != router.gateway
    if to_guest and connection.target not in router.cidr:
        return connection.target in publics and _inward(router, connection)
    if connection.target == METADATA:
        return connection.source in router.cidr
    if connection.target in publics and connection.answers_from == connection.target:
        return connection.protocol is not Protocol.TCP or _balanced(router, connection)
    if connection.source in router.cidr and connection.target not in router.cidr:
        return _outward(router, connection)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection6:
    """A connection of IPv6 as its first packet was; nothing translates its addresses."""

    protocol: Protocol
    source: IPv6Address
    target: IPv6Address
    port: int  # of the target; 0 without ports


def stays6(router: Router, connection: Connection6) -> bool:
    """The same of IPv6. What links say among themselves is nobody else's."""
    source, target = connection.source, connection.target
    if source.is_link_local or target.is_link_local or target.is_multicast:
        return True
    six = router.six
    if six is None:
        return False
    if target in map(six.twin, router.out.addresses if router.out else ()):
        return connection.protocol is not Protocol.TCP or _balanced6(router, connection)
    near = six.is_near(source) or six.is_near(target)
    if near and any(
        each.admits(connection.protocol, source, target, connection.port) for each in six.passings
    ):
        return True
    if source in six.cidr and target not in six.cidr:
        return (six.upstream is not None or not near) and _may_leave(router, connection)
    if target in six.cidr and source not in six.cidr:
        return any(
            opening.public is None and opening.admits(connection.protocol, source, connection.port)
            for opening in router.inbound
        )
    return True


def _balanced6(router: Router, connection: Connection6) -> bool:
    return any(
        (each.at6, each.port) == (connection.target, connection.port)
        and each.clients6 is not None
        and connection.source in each.clients6
        for each in router.balancers
    )


def _is_between(router: Router, connection: Connection, publics: Collection[IPv4Address]) -> bool:
    """Whether its other end is, or was, at a neighbour. Nobody else may call a machine by its own address."""
    if connection.target in router.cidr:
        return connection.source not in router.cidr and connection.source not in publics
    led = router.link is not None and router.link.leads_to(connection.target)
    return led and connection.source in router.cidr


def _calls_router(router: Router, connection: Connection) -> bool:
    """Whether it is with a balancer at the gateway, if with anybody there."""
    called = connection.target == router.gateway == connection.answers_from
    return called and connection.protocol is Protocol.TCP and connection.port != NAMES_PORT


def _balanced(router: Router, connection: Connection) -> bool:
    return any(
        (each.at, each.port) == (connection.target, connection.port)
        and connection.source in each.clients
        for each in router.balancers
    )


def _inward(router: Router, connection: Connection) -> bool:
    leads_there = any(
        (forward.protocol, forward.public) == (connection.protocol, connection.target)
        and connection.port in forward.ports
        and forward.to == connection.answers_from
        and forward.target(connection.port) == connection.answers_from_port
        for forward in router.forwards
    ) or any(
        (static.public, static.to) == (connection.target, connection.answers_from)
        and connection.port == connection.answers_from_port
        for static in router.statics
    )
    return leads_there and any(
        opening.public == connection.target
        and opening.admits(connection.protocol, connection.source, connection.port)
        for opening in router.inbound
    )


def _outward(router: Router, connection: Connection) -> bool:
    if connection.answers_to != router.seen_as(connection.source):
        return False
    return _may_leave(router, connection)


def _may_leave(router: Router, connection: Connection | Connection6) -> bool:
    return not router.outbound or any(
        opening.admits(connection.protocol, connection.target, connection.port)
        for opening in router.outbound
    )
