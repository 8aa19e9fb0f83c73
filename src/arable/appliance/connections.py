"""Which connections a router's rules still allow.

Packets of a connection that was once allowed pass without being asked again: that is what keeps connections alive
while rules change. So when a rule is taken back, connections that lived by it have to be ended by hand. These are
the rules of `nftables.py` once more, applied to the kernel's table of connections.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from arable.appliance.router import Router
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
    to_guest = connection.answers_from in router.cidr and connection.answers_from != router.gateway
    if to_guest and connection.target not in router.cidr:
        return connection.target in publics and _inward(router, connection)
    if connection.source in router.cidr and connection.target not in router.cidr:
        return _outward(router, connection)
    return True


def _inward(router: Router, connection: Connection) -> bool:
    leads_there = any(
        (forward.protocol, forward.public) == (connection.protocol, connection.target)
        and connection.port in forward.ports
        and forward.to == connection.answers_from
        and forward.target(connection.port) == connection.answers_from_port
        for forward in router.forwards
    )
    return leads_there and any(
        opening.public == connection.target
        and opening.admits(connection.protocol, connection.source, connection.port)
        for opening in router.inbound
    )


def _outward(router: Router, connection: Connection) -> bool:
    if router.out is None or connection.answers_to != router.out.address:
        return False
    return not router.outbound or any(
        opening.admits(connection.protocol, connection.target, connection.port)
        for opening in router.outbound
    )
