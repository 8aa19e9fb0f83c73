"""How guest networks look outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Id, In, Name, NameOrId, NamePrefix, Out, PageQuery
from arable.wire.zones import DnsDomain, Resolvers

Cidr = Annotated[
    str,
    Meta(
        min_length=9,
        max_length=18,
        pattern=r"^[0-9.]+/[0-9]{1,2}$(?!\n)",
        description="An IPv4 subnet without host bits.",
        examples=["10.2.0.0/24"],
    ),
]


_REDUNDANT = (
    "Two routing appliances on two hosts: one leads, the other knows all connections and takes its place within "
    "seconds when it or its host is lost."
)

_IPV6 = (
    "IPv6, too: a /64 of the zone's IPv6 range, and for each machine the one address that it makes of it and its MAC "
    "(EUI-64). Kept until the network is deleted."
)

OwnDomain = Annotated[
    DnsDomain,
    Meta(description="Machines find each other as `name.dns_domain`; null: the zone's usual one."),
]
OwnResolvers = Annotated[
    Resolvers,
    Meta(description="Where names outside are asked; null: where the zone says; empty: nowhere."),
]


class NetworkIn(In, frozen=True, kw_only=True):
    """A new guest network: layer 2 of its own, one subnet, its own router."""

    name: Name
    cidr: Annotated[
        Cidr | None,
        Meta(
            description=(
                "A private subnet from /16 to /29 that meets no other network of the account in the zone; it may "
                "equal another customer's. Null: the zone's usual one."
            )
        ),
    ] = None
    zone: Annotated[
        NameOrId | None, Meta(description="Where; may be left out while there is one zone only.")
    ] = None
    farm: Annotated[NameOrId | None, Meta(description="Null: the default farm of the zone.")] = None
    isolated: Annotated[
        bool,
        Meta(
            description=(
                "No way out and none in: no public address, and DHCP names no router. For machines that only others "
                "of the account should reach, by a second port."
            )
        ),
    ] = False
    dns_domain: OwnDomain | None = None
    resolvers: OwnResolvers | None = None
    redundant: Annotated[bool, Meta(description=_REDUNDANT)] = False
    ipv6: Annotated[bool, Meta(description=_IPV6)] = False


class NetworkOut(Out, frozen=True, kw_only=True):
    """A guest network. Its routing appliance runs from before its first machine until some time after its last."""

    id: str
    name: str
    account: str
    zone: str
    farm: str
    cidr: str
    gateway: str
    dns_domain: Annotated[str, Meta(description="Machines find each other as `name.dns_domain`.")]
    resolvers: Annotated[
        tuple[str, ...] | None,
        Meta(description="Where names outside are asked; null: where the zone says."),
    ]
    isolated: Annotated[bool, Meta(description="It has no way out, and none in.")]
    ipv6_cidr: Annotated[
        str | None,
        Meta(description="Its /64; null: it has no IPv6.", examples=["2001:db8:100:1::/64"]),
    ] = None
    ipv6_gateway: Annotated[str | None, Meta(description="Its router's address there.")] = None
    vlan: Annotated[
        int | None,
        Meta(
            description="Its VLAN's tag on the wire, or its VNI; only told to those who may see hosts."
        ),
    ] = None
    state: Literal["ready", "leaving"]
    appliance: Annotated[
        Literal["absent", "starting", "running", "leaving"],
        Meta(description="Its routing appliance; of two, the one that leads."),
    ]
    redundant: Annotated[bool, Meta(description="It is to have two routing appliances.")]
    standby: Annotated[
        Literal["absent", "starting", "running", "leaving"],
        Meta(description="The routing appliance that stands by for the one that leads."),
    ]
    appliance_host: Annotated[
        str | None,
        Meta(description="Where its routing appliance is; only told to those who may see hosts."),
    ] = None
    standby_host: Annotated[str | None, Meta(description="The same of the one that stands by.")] = (
        None
    )
    appliance_runtime: Annotated[
        Literal["namespace", "vm"] | None,
        Meta(
            description="What its routing appliance is, or was when it ran last; only told to those who may see hosts."
        ),
    ] = None
    source_nat: Annotated[
        str | None,
        Meta(
            description="The public address that its machines appear with outside; null: they have no way out."
        ),
    ]
    notice: Annotated[
        str, Meta(description="What its owner should know, such as a missing way out.")
    ]
    generation: int
    created_at: datetime


class NetworkQuery(PageQuery, frozen=True, kw_only=True):
    """Which networks."""

    zone: Id | None = None
    state: Literal["ready", "leaving"] | None = None
    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
    prefix: Annotated[NamePrefix | None, Meta(description="Names that begin so.")] = None
    farm: Id | None = None
    account: Id | None = None


class NetworkChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays."""

    name: Name | UnsetType = UNSET
    dns_domain: OwnDomain | UnsetType = UNSET
    resolvers: OwnResolvers | UnsetType | None = UNSET
    redundant: Annotated[
        bool | UnsetType,
        Meta(
            description=_REDUNDANT
            + " To change this interrupts what goes through its router for some seconds."
        ),
    ] = UNSET
    ipv6: Annotated[bool | UnsetType, Meta(description=_IPV6)] = UNSET
