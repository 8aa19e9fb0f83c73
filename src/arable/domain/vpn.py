"""VPNs: a network joined to one elsewhere (`SITE`), or open to people's own computers (`ACCESS`). See docs/decisions/0017.

Values in three forms: as kept (`Vpn`, `VpnPeer`), as the appliance is told (`VpnWish`), as it was seen. Keys are those of
WireGuard: 32 bytes in base64.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Network
from typing import Any

from arable.domain.errors import BadInput
from arable.domain.ids import AccountId, AddressId, NetworkId, VpnId, VpnPeerId
from arable.domain.protocols import Protocol

SILENT_SECONDS = 180
"""After which a peer that was not heard of is away: its session would have been made anew by then."""

KEY = r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
"""A key as text."""


_NOWHERE = tuple(
    map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"))
)


class VpnKind(StrEnum):
    """Who is at the other end."""

    SITE = "site"  # one gateway with networks behind it
    ACCESS = "access"  # any number of computers, each with an address of a range


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnOpening:
    """What may come in from a tunnel: connections of `cidr`'s addresses there. Ports 0-0 mean all."""

    protocol: Protocol = Protocol.ALL
    cidr: str = "0.0.0.0/0"
    first_port: int = 0
    last_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpn:
    """A VPN as it is kept. `sealed` is its private key, encrypted; `cidr` the range of its clients, if it has such.

    `next_key` is the public key that it turns to when its peer knows it, `next_sealed` the private one. `keys` counts what it was
    asked for: it has a key of its own for each.
    """

    id: VpnId
    account: AccountId
    network: NetworkId
    address: AddressId
    kind: VpnKind
    port: int
    cidr: str = ""
    name: str
    public_key: str
    sealed: str = field(repr=False)
    next_key: str = ""
    next_sealed: str = field(default="", repr=False)
    keys: int = 0
    openings: tuple[VpnOpening, ...] = ()
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Vpn":
        """The same VPN with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True, kw_only=True)
class FarName:
    """A tier of the network's farm that is called behind a peer, at an address there."""

    tier: str
    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnPeer:
    """Who is at the other end: without a public key, nobody yet. `sealed` is a key that both have, encrypted, or empty.

    `endpoint`, ADDRESS:PORT, is where it is called; empty: it calls. `next_key` is the public key that it is about to have.
    """

    id: VpnPeerId
    vpn: VpnId
    account: AccountId
    name: str
    public_key: str
    next_key: str = ""
    sealed: str = field(default="", repr=False)
    endpoint: str = ""
    cidrs: tuple[str, ...]
    names: tuple[FarName, ...] = ()
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnPeerWish:
    """Its packets come from `cidrs`, and what is for those goes to it. `preshared` is open only on its way to a host.

    With a `next_key` it is known by either, and the one counts by which it was heard last.
    """

    id: VpnPeerId
    public_key: str
    next_key: str = ""
    cidrs: tuple[str, ...]
    endpoint: str = ""
    sealed: str = field(default="", repr=False)
    preshared: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnWish:
    """What the appliance is told. The key stands in the store `sealed`, and open (`key`) only from a server to an agent."""

    id: VpnId
    public: str
    port: int
    cidr: str = ""
    peers: tuple[VpnPeerWish, ...] = ()
    openings: tuple[VpnOpening, ...] = ()
    sealed: str = field(default="", repr=False)
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnPeerSeen:
    """A peer as the appliance sees it. `heard_at` is its last handshake, in seconds since 1970; 0: never."""

    id: VpnPeerId
    up: bool
    heard_at: int = 0
    endpoint: str = ""
    received_bytes: int = 0  # from the peer
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnSeen:
    """A VPN as its appliance sees it."""

    id: VpnId
    peers: tuple[VpnPeerSeen, ...] = ()


def distant(text: str, field: str) -> IPv4Network:
    """A subnet that may be behind a tunnel; raises `BadInput` saying why not."""
    try:
        found = IPv4Network(text)
    except ValueError:
        raise BadInput(
            "not an IPv4 subnet: it looks like 10.9.0.0/24, with no bits set after the prefix",
            field=field,
        ) from None
    if found.prefixlen < 8:
        raise BadInput("wider than /8: nothing would be left on this side", field=field)
    if any(found.overlaps(other) for other in _NOWHERE):
        raise BadInput(f"{found} can't be reached by a tunnel", field=field)
    return found
