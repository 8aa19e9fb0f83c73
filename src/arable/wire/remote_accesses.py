"""How remote access, and the clients that have it, look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Id, In, Name, Out, PageQuery
from arable.wire.networks import Cidr
from arable.wire.vpns import Allow, AllowIn, AllowOut, PeerStatusOut, PublicKey, VpnPort


class RemoteAccessIn(In, frozen=True, kw_only=True):
    """A way into a network for people's own computers, by WireGuard. Nobody has it until clients are made."""

    name: Name
    address: Annotated[Id, Meta(description="A public address that a network has.")]
    port: VpnPort = 51821
    cidr: Annotated[
        Cidr, Meta(description="Of clients: a subnet that is nowhere else, from /16 to /29.")
    ]
    allow: Annotated[Allow, Meta(description="What clients may begin; everything without it.")] = (
        AllowIn(),
    )


class RemoteAccessChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays. `allow` is replaced as a whole."""

    name: Name | UnsetType = UNSET
    allow: Allow | UnsetType = UNSET


class RemoteAccessOut(Out, frozen=True, kw_only=True):
    """A way into a network."""

    id: Annotated[str, Meta(examples=["access-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    network: str
    name: str
    address: Annotated[str, Meta(description="The public address, by id.")]
    public: Annotated[str, Meta(description="The public address itself.")]
    port: int
    cidr: str
    public_key: str
    allow: list[AllowOut]
    clients: Annotated[int, Meta(description="How many there are.")]
    up: Annotated[int, Meta(description="How many of them were heard of in the last minutes.")]
    generation: int
    created_at: datetime


class RemoteAccessMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: it is kept, and in effect when the operation is done."""

    operation: str
    access: RemoteAccessOut


class RemoteAccessQuery(PageQuery, frozen=True, kw_only=True):
    """Which ways."""

    network: Id | None = None
    name: Name | None = None
    account: Id | None = None


class VpnClientIn(In, frozen=True, kw_only=True):
    """A computer that gets remote access. With a public key of its own, its private one never leaves it."""

    access: Annotated[Id, Meta(description="Remote access to which network.")]
    name: Name
    public_key: PublicKey | None = None


class VpnClientOut(Out, frozen=True, kw_only=True):
    """A computer that has remote access."""

    id: Annotated[str, Meta(examples=["vpnclient-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    access: str
    access_name: str
    name: str
    address: Annotated[str, Meta(description="Its own, in the network's sight.")]
    public_key: str
    status: Annotated[PeerStatusOut | None, Meta(description="Null: nothing was seen of it yet.")]
    created_at: datetime


class VpnClientMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: the client has access when the operation is done."""

    operation: str
    client: VpnClientOut
    configuration: Annotated[
        str | None,
        Meta(
            description="The file for its WireGuard, with its private key if that was made here: shown this once. Null where it was shown before."
        ),
    ]


class VpnClientQuery(PageQuery, frozen=True, kw_only=True):
    """Which clients."""

    access: Id | None = None
    name: Name | None = None
    account: Id | None = None
