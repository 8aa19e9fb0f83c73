"""How zones, and what they have, look outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import In, Name, Out, PageQuery, Plain

Cidr = Annotated[
    str,
    Meta(
        min_length=9,
        max_length=18,
        pattern=r"^[0-9.]+/[0-9]{1,2}$(?!\n)",
        description="An IPv4 subnet; no bits are set after the prefix.",
        examples=["10.1.1.0/24"],
    ),
]
DnsDomain = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$(?!\n)",
        description="The DNS domain of the zone's networks.",
        examples=["internal"],
    ),
]
Resolvers = Annotated[
    tuple[Annotated[Plain, Meta(max_length=45)], ...],
    Meta(max_length=4, description="Where names outside are asked; none: not at all."),
]
GuestCidr = Annotated[Cidr, Meta(description="The subnet of networks that are made on first use.")]


class VlanRange(In, frozen=True, kw_only=True):
    """A run of VLAN tags, both ends included."""

    first: Annotated[int, Meta(ge=2, le=4094, examples=[100])]
    last: Annotated[int, Meta(ge=2, le=4094, examples=[999])]


class VniRange(In, frozen=True, kw_only=True):
    """A run of VXLAN network identifiers, both ends included."""

    first: Annotated[int, Meta(ge=4096, le=(1 << 24) - 1, examples=[10_000])]
    last: Annotated[int, Meta(ge=4096, le=(1 << 24) - 1, examples=[19_999])]


UnderlayMtu = Annotated[
    int,
    Meta(
        ge=1280,
        le=9216,
        description=(
            "What a packet between its hosts may have, bytes. Guests are told as much, in a zone with VNIs 50 less, "
            "and 1500 at most: where hosts have 1550 or more, VXLAN costs guests nothing."
        ),
    ),
]


RouterRuntimeName = Annotated[
    Literal["namespace", "vm"],
    Meta(
        description=(
            "What the routing appliances of its networks are: network namespaces of their host, which start at once and take "
            "little, or virtual machines, which have a kernel of their own and take memory and some seconds to start. It "
            "holds for those that start, or are restarted, from then on."
        )
    ),
]


class ZoneIn(In, frozen=True, kw_only=True):
    """A new zone."""

    name: Name
    vlans: Annotated[
        VlanRange | None,
        Meta(
            description="VLANs of the zone's guest networks, which its switches carry to every host of every pod."
        ),
    ] = None
    vnis: Annotated[
        VniRange | None,
        Meta(
            description=(
                "Instead of VLANs: VNIs, for networks in VXLAN between its hosts, of which there may be more than "
                "4,093. Hosts need an address for tunnels, and switches nothing."
            )
        ),
    ] = None
    underlay_mtu: UnderlayMtu = 1500
    region: Name = "local"
    dns_domain: DnsDomain = "internal"
    resolvers: Resolvers = ()
    guest_cidr: GuestCidr = "10.1.1.0/24"
    router_runtime: RouterRuntimeName = "namespace"


class ZoneChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays."""

    name: Name | UnsetType = UNSET
    enabled: (
        Annotated[bool, Meta(description="False: nothing new is placed there.")] | UnsetType
    ) = UNSET
    dns_domain: DnsDomain | UnsetType = UNSET
    resolvers: Resolvers | UnsetType = UNSET
    guest_cidr: GuestCidr | UnsetType = UNSET
    underlay_mtu: UnderlayMtu | UnsetType = UNSET
    router_runtime: RouterRuntimeName | UnsetType = UNSET


class UseOut(Out, frozen=True, kw_only=True):
    """How many there are, and how many are free."""

    total: int
    free: int


class ZoneOut(Out, frozen=True, kw_only=True):
    """A zone."""

    id: Annotated[str, Meta(examples=["zone-0mh5z1x2k3q8w7e6r5t4"])]
    name: str
    region: str
    enabled: bool
    dns_domain: str
    resolvers: tuple[str, ...]
    guest_cidr: str
    isolation: Annotated[
        Literal["vlan", "vxlan"], Meta(description="By what its guest networks are kept apart.")
    ]
    underlay_mtu: int
    router_runtime: Annotated[
        Literal["namespace", "vm"],
        Meta(description="What routing appliances are that start from now on."),
    ]
    vlans: Annotated[
        tuple[VlanRange, ...] | None,
        Meta(description="Of guest networks; null for callers without `infra:read`."),
    ] = None
    vnis: Annotated[
        tuple[VniRange, ...] | None,
        Meta(description="Of guest networks; null for callers without `infra:read`."),
    ] = None
    generation: int
    created_at: datetime


class ZoneQuery(PageQuery, frozen=True, kw_only=True):
    """Which zones."""

    name: Name | None = None


class AmountOut(Out, frozen=True, kw_only=True):
    """Capacity of one kind."""

    installed: Annotated[int, Meta(description="What the hosts have.")]
    total: Annotated[int, Meta(description="What can be reserved: installed times over-commit.")]
    reserved: int
    free: Annotated[int, Meta(description="total less reserved, on all hosts.")]
    idle: Annotated[
        int,
        Meta(description="The idle pool: what is free on hosts where machines may be placed now."),
    ]


class HostCountOut(Out, frozen=True, kw_only=True):
    """Hosts by state."""

    total: int
    up: int
    silent: int
    joined: int
    maintenance: Annotated[int, Meta(description="In maintenance, whatever their state.")]


class CapacityOut(Out, frozen=True, kw_only=True):
    """How much of everything a zone has."""

    zone: str
    hosts: HostCountOut
    machines: Annotated[int, Meta(description="Machines that have a host.")]
    cpu_mhz: AmountOut
    memory_mib: AmountOut
    routers_memory_mib: Annotated[
        int,
        Meta(description="Of the memory that is reserved, what routers that are machines take."),
    ] = 0
    disk_mib: AmountOut
    vlans: Annotated[
        UseOut, Meta(description="Guest VLANs, or VNIs; a free one is one network more.")
    ]
    addresses: Annotated[UseOut, Meta(description="Public addresses.")]
