"""How VPNs to sites look outside, and what remote access has in common with them (`remote_accesses.py`)."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Id, In, Name, Out, PageQuery
from arable.wire.rules import AnyCidr, Port

_KEY = r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$(?!\n)"
VpnPort = Annotated[
    int,
    Meta(
        ge=1024, le=65_535, description="UDP, on the public address; one VPN of a network has it."
    ),
]
PublicKey = Annotated[
    str,
    Meta(
        min_length=44,
        max_length=44,
        pattern=_KEY,
        description="A public key of WireGuard's, as `wg pubkey` writes it.",
        examples=["HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="],
    ),
]
PresharedKey = Annotated[
    str,
    Meta(
        min_length=44,
        max_length=44,
        pattern=_KEY,
        description="A secret that both ends have besides, as `wg genpsk` writes it. Kept encrypted, and never shown.",
    ),
]
Endpoint = Annotated[
    str,
    Meta(
        min_length=9,
        max_length=21,
        pattern=r"^[0-9.]{7,15}:[0-9]{1,5}$(?!\n)",
        description="Where the peer is called, ADDRESS:PORT; null: it calls.",
        examples=["198.51.100.7:51820"],
    ),
]
PeerCidrs = Annotated[
    tuple[AnyCidr, ...],
    Meta(min_length=1, max_length=50, description="Subnets behind the peer."),
]


class AllowIn(In, frozen=True, kw_only=True):
    """What may begin from the other end."""

    protocol: Literal["tcp", "udp", "icmp", "all"] = "all"
    cidr: Annotated[AnyCidr, Meta(description="From which addresses there.")] = "0.0.0.0/0"
    first_port: Annotated[Port | None, Meta(description="TCP and UDP; null: all ports.")] = None
    last_port: Annotated[Port | None, Meta(description="Null: one port only.")] = None


Allow = Annotated[tuple[AllowIn, ...], Meta(max_length=50)]


class AllowOut(Out, frozen=True, kw_only=True):
    """What may begin from the other end."""

    protocol: str
    cidr: str
    first_port: int | None
    last_port: int | None


class VpnIn(In, frozen=True, kw_only=True):
    """A tunnel from a network to a gateway elsewhere, by WireGuard. Its own key is made here.

    From there nothing may begin but what `allow` says. Without the peer's key nobody is there yet.
    """

    name: Name
    address: Annotated[Id, Meta(description="A public address that a network has.")]
    port: VpnPort = 51820
    peer_cidrs: PeerCidrs
    peer_key: PublicKey | None = None
    peer_endpoint: Endpoint | None = None
    preshared_key: PresharedKey | None = None
    allow: Annotated[Allow, Meta(description="What may begin from there; nothing without it.")] = ()


class VpnChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays. `peer_cidrs` and `allow` are replaced as a whole."""

    name: Name | UnsetType = UNSET
    peer_cidrs: PeerCidrs | UnsetType = UNSET
    peer_key: PublicKey | UnsetType | None = UNSET
    peer_endpoint: Endpoint | UnsetType | None = UNSET
    preshared_key: PresharedKey | UnsetType | None = UNSET
    allow: Allow | UnsetType = UNSET


class PeerStatusOut(Out, frozen=True, kw_only=True):
    """What was seen of a peer, as it was told last: every ten seconds or so, when there was something new."""

    up: Annotated[bool, Meta(description="It was heard of within the last three minutes.")]
    since: Annotated[datetime, Meta(description="It has been up, or not.")]
    heard_at: Annotated[datetime | None, Meta(description="Its last handshake; null: never.")]
    endpoint: Annotated[str | None, Meta(description="Where it calls from.")]
    received_bytes: Annotated[int, Meta(description="From the peer.")]
    sent_bytes: int
    at: Annotated[datetime, Meta(description="When this was told.")]


class VpnOut(Out, frozen=True, kw_only=True):
    """A VPN to a site."""

    id: Annotated[str, Meta(examples=["vpn-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    network: str
    name: str
    address: Annotated[str, Meta(description="The public address, by id.")]
    public: Annotated[str, Meta(description="The public address itself.")]
    port: int
    public_key: Annotated[str, Meta(description="Of this end: what the peer has to know.")]
    peer_key: str | None
    peer_endpoint: str | None
    peer_cidrs: list[str]
    preshared: Annotated[bool, Meta(description="Whether there is a preshared key.")]
    allow: list[AllowOut]
    status: Annotated[PeerStatusOut | None, Meta(description="Null: nothing was seen of it yet.")]
    generation: int
    created_at: datetime


class VpnMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: it is kept, and in effect when the operation is done."""

    operation: str
    vpn: VpnOut


class VpnQuery(PageQuery, frozen=True, kw_only=True):
    """Which VPNs."""

    network: Id | None = None
    name: Name | None = None
    account: Id | None = None
