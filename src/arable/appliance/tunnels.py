"""VPNs as typed values, checked once, as all else of a router is (`router.py`).

A key is 32 bytes, whatever text it came as. An interface's name is made from the VPN's id: a letter, and the letters and
digits that are chance in it.
"""

import base64
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from arable.appliance.values import (
    LAST_PORT,
    Ports,
    own_public,
    ports_of,
    to_address,
    to_network,
)
from arable.domain.errors import BadInput
from arable.domain.guest_cidr import LINKS
from arable.domain.ids import VpnId, VpnPeerId, check
from arable.domain.protocols import Protocol
from arable.domain.vpn import KEY, VpnOpening, VpnPeerWish, VpnWish, distant

_key = re.compile(KEY)
_NAMED = 11  # characters of an id that are chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What may begin from a tunnel's other end. Only TCP and UDP have ports."""

    protocol: Protocol
    source: IPv4Network
    ports: Ports

    def admits(self, protocol: Protocol, source: IPv4Address, port: int) -> bool:
        """Whether this lets such a one begin."""
        fits = self.protocol in (Protocol.ALL, protocol)
        return fits and source in self.source and port in self.ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end of a tunnel, or at one of them."""

    id: VpnPeerId
    public_key: bytes
    next_key: bytes | None  # by which it is known, too
    preshared: bytes = field(repr=False)  # all zero: there is none
    endpoint: tuple[IPv4Address, int] | None
    cidrs: tuple[IPv4Network, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """By which it is known, as hexadecimal digits."""
        return tuple(key.hex() for key in (self.public_key, self.next_key) if key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """An interface that leads to its peers. `clients` is the range of theirs, of which the first address is ours."""

    id: VpnId
    public: IPv4Address
    port: int
    key: bytes = field(repr=False)
    clients: IPv4Network | None
    peers: tuple[Peer, ...]
    admitted: tuple[Admitted, ...]

    @property
    def interface(self) -> str:
        """Its name in the router."""
        return f"v{self.id[-_NAMED:]}"

    @property
    def own(self) -> IPv4Address | None:
        """The router's address among its clients."""
        return self.clients[1] if self.clients else None

    @property
    def behind(self) -> tuple[IPv4Network, ...]:
        """What is led into it: a range of clients is one, whoever of them is there."""
        if self.clients:
            return (self.clients,)
        return tuple(sorted(cidr for peer in self.peers for cidr in peer.cidrs))

    def is_behind(self, address: IPv4Address) -> bool:
        """Whether that address is at its other end."""
        return any(address in cidr for cidr in self.behind)

    def knows(self, address: IPv4Address) -> bool:
        """Whether a peer has that address now."""
        return any(address in cidr for peer in self.peers for cidr in peer.cidrs)

    def leading_to(self, protocol: Protocol, port: int) -> tuple[Admitted, ...]:
        """What lets connections to that port begin."""
        return tuple(
            each
            for each in self.admitted
            if each.protocol in (Protocol.ALL, protocol) and port in each.ports
        )

    def admits(self, protocol: Protocol, source: IPv4Address, port: int) -> bool:
        """Whether who has that address there may begin such a connection."""
        return self.knows(source) and any(
            each.admits(protocol, source, port) for each in self.admitted
        )


def tunnels(
    wishes: Sequence[VpnWish],
    publics: Sequence[IPv4Address],
    taken: Iterable[IPv4Network],
) -> tuple[Tunnel, ...]:
    """All VPNs of a router, in order of id. `taken` is what is elsewhere already. Raises `BadInput` naming the field."""
    made = [_tunnel(wish, publics, f"vpns.{at}") for at, wish in enumerate(wishes)]
    made.sort(key=lambda each: each.id)
    for what, values in (
        ("id", [each.interface for each in made]),
        ("port", [each.port for each in made]),
    ):
        if len(set(values)) < len(values):
            raise BadInput(f"two VPNs have the same {what}", field=f"vpns.{what}")
    _apart([*taken, LINKS, *(cidr for each in made for cidr in each.behind)])
    for each in made:
        for public in publics:
            if each.is_behind(public):
                raise BadInput(f"{public} is this router's own", field="vpns.peers")
    return tuple(made)


def _tunnel(wish: VpnWish, publics: Sequence[IPv4Address], where: str) -> Tunnel:
    if not 1024 <= wish.port <= LAST_PORT:
        raise BadInput(f"{wish.port} is no port of a VPN", field=f"{where}.port")
    clients = distant(wish.cidr, f"{where}.cidr") if wish.cidr else None
    if clients and clients.prefixlen > 30:
        raise BadInput(f"{clients} has no room for a client", field=f"{where}.cidr")
    peers = [_peer(peer, f"{where}.peers.{at}") for at, peer in enumerate(wish.peers)]
    peers.sort(key=lambda each: each.id)
    keys = [key for each in peers for key in (each.public_key, each.next_key) if key]
    if len(set(keys)) < len(keys) or len({each.id for each in peers}) < len(peers):
        raise BadInput("a peer is named twice", field=f"{where}.peers")
    cidrs = [cidr for peer in peers for cidr in peer.cidrs]
    _apart(cidrs)
    own = clients[1] if clients else None
    for cidr in cidrs:
        if clients and not (cidr.subnet_of(clients) and own not in cidr):
            raise BadInput(f"{cidr} is no client's address", field=f"{where}.peers")
    for peer in peers:
        if peer.endpoint and any(peer.endpoint[0] in cidr for cidr in cidrs):
            raise BadInput("a tunnel does not lead to its own end", field=f"{where}.peers")
    public = own_public(to_address(wish.public, f"{where}.public"), publics, f"{where}.public")
    kind = "access" if wish.id.startswith("access-") else "vpn"
    return Tunnel(
        id=VpnId(check(kind, wish.id, f"{where}.id")),
        public=public,
        port=wish.port,
        key=_octets(wish.key, f"{where}.key"),
        clients=clients,
        peers=tuple(peers),
        admitted=tuple(
            each
            for at, opening in enumerate(wish.openings)
            for each in _admitted(opening, f"{where}.openings.{at}")
        ),
    )


def _peer(wish: VpnPeerWish, where: str) -> Peer:
    kind = "vpnclient" if wish.id.startswith("vpnclient-") else "vpn"
    return Peer(
        id=VpnPeerId(check(kind, wish.id, f"{where}.id")),
        public_key=_octets(wish.public_key, f"{where}.public_key"),
        next_key=_octets(wish.next_key, f"{where}.next_key") if wish.next_key else None,
        preshared=_octets(wish.preshared, f"{where}.preshared") if wish.preshared else bytes(32),
        endpoint=_endpoint(wish.endpoint, f"{where}.endpoint") if wish.endpoint else None,
        cidrs=tuple(distant(cidr, f"{where}.cidrs.{at}") for at, cidr in enumerate(wish.cidrs)),
    )


def _admitted(wish: VpnOpening, where: str) -> list[Admitted]:
    ports = ports_of(wish.first_port, wish.last_port, where)
    if wish.protocol is Protocol.ICMP and ports.last:
        raise BadInput("ICMP has no ports", field=f"{where}.first_port")
    source = to_network(wish.cidr, f"{where}.cidr")
    both = wish.protocol is Protocol.ALL and ports.last
    protocols = (Protocol.TCP, Protocol.UDP) if both else (wish.protocol,)
    return [Admitted(protocol=each, source=source, ports=ports) for each in protocols]


def _endpoint(text: str, where: str) -> tuple[IPv4Address, int]:
    address, _, port = text.partition(":")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= LAST_PORT):
        raise BadInput("no port behind the address", field=where)
    return to_address(address, where), int(port)


def _octets(text: str, where: str) -> bytes:
    """Never says what it was."""
    if not _key.fullmatch(text):
        raise BadInput("this is no key: 32 bytes in base64", field=where)
    return base64.b64decode(text)


def _apart(cidrs: Iterable[IPv4Network]) -> None:
    for one, other in itertools.pairwise(sorted(cidrs)):
        if one.overlaps(other):
            raise BadInput(f"{other} is somewhere else already", field="vpns")
