"""How farms look: the document that one is laid out by, what becomes of it, and the farm itself."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from arable.wire.balancers import ProtocolName, StickinessName
from arable.wire.blueprints import BlueprintVersionIn, VersionNumber
from arable.wire.common import MOST, Id, In, Name, NameOrId, Out, PageQuery, Whole
from arable.wire.farm_secrets import FarmSecretIn
from arable.wire.grid import AccountPath
from arable.wire.images import Sha256
from arable.wire.machines import SshKey
from arable.wire.networks import Cidr
from arable.wire.rules import AnyCidr, Cidr6, Port
from arable.wire.tiers import TierIn
from arable.wire.vpns import AllowIn, Endpoint, PublicKey

ZoneName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9_+/-]+$(?!\n)",
        description="A time zone, as the IANA names it.",
        examples=["Europe/Berlin"],
    ),
]


class FarmNetworkIn(In, frozen=True, kw_only=True):
    """A network of the farm, which is called FARM-NAME."""

    name: Annotated[Name, Meta(examples=["web"])]
    cidr: Annotated[
        Cidr | None, Meta(description="null: a free /24 of 10.64.0.0/10, which it then keeps.")
    ] = None
    isolated: Annotated[bool, Meta(description="No way out, and none in.")] = False
    redundant: Annotated[
        bool,
        Meta(description="Two routing appliances: one takes the other's place when it is lost."),
    ] = False
    ipv6: Annotated[
        bool,
        Meta(
            description="A /64 of the zone's IPv6 range beside the subnet of IPv4. Once there, it stays until the network goes."
        ),
    ] = False


class PassageIn(In, frozen=True, kw_only=True):
    """Elements of one tier may call those of another."""

    source: Annotated[Name, Meta(description="The tier that calls.", examples=["web"])]
    to: Annotated[Name, Meta(description="The tier that is called.", examples=["app"])]
    port: Port
    protocol: Literal["tcp", "udp"] = "tcp"


class WayInIn(In, frozen=True, kw_only=True):
    """A port of a network's public address, spread over the elements of a tier."""

    tier: Annotated[Name, Meta(examples=["web"])]
    port: Annotated[Port, Meta(examples=[80])]
    to_port: Annotated[
        Port | None,
        Meta(
            description="Of the elements; null: the same if they have it, else the first they have."
        ),
    ] = None
    protocol: ProtocolName = "http"
    cidr: Annotated[AnyCidr, Meta(description="Who may use it.")] = "0.0.0.0/0"
    cidr6: Annotated[
        Cidr6 | None,
        Meta(
            description="Who may use it by IPv6, which its network has to have: `::/0` is everybody; null: nobody.",
            examples=["::/0"],
        ),
    ] = None
    stickiness: StickinessName = "none"


Networks = Annotated[tuple[FarmNetworkIn, ...], Meta(max_length=50)]
Tiers = Annotated[tuple[TierIn, ...], Meta(max_length=50)]
Passages = Annotated[tuple[PassageIn, ...], Meta(max_length=200)]
WaysIn = Annotated[tuple[WayInIn, ...], Meta(max_length=50)]
Secrets = Annotated[
    tuple[Name | FarmSecretIn, ...],
    Meta(
        max_length=50,
        description="Texts that its elements are told as {{secret.NAME}}, and that are shown to nobody.",
        examples=[["db-password"]],
    ),
]
Keys = Annotated[
    tuple[SshKey, ...],
    Meta(max_length=32, description="Who may log in to elements made from now on."),
]


class FarmSpec(In, frozen=True, kw_only=True):
    """What a farm is to be. Its lists are complete: what the farm made and they no longer name goes."""

    networks: Networks = ()
    tiers: Tiers = ()
    passages: Passages = ()
    ways_in: WaysIn = ()
    time_zone: Annotated[ZoneName, Meta(description="By which its tiers' windows go.")] = "UTC"
    secrets: Secrets = ()
    ssh_keys: Keys = ()


class FarNameIn(In, frozen=True, kw_only=True):
    """A tier behind a link: where it is called."""

    tier: Name
    address: Annotated[str, Meta(max_length=15, pattern=r"^[0-9.]*$(?!\n)")]
    port: Port


class LinkIn(In, frozen=True, kw_only=True):
    """A network of a farm is joined by a VPN to one of the same farm in another region.

    `key` and `endpoint` are of the other end; null: they are not known yet. `next_key` is what it is about to have; `known`
    the one of this end's that it was told of. `allow` is what may begin from there.
    """

    near: Name
    region: Name
    far: Name
    cidr: Cidr
    key: PublicKey | None = None
    next_key: PublicKey | None = None
    known: PublicKey | None = None
    endpoint: Endpoint | None = None
    allow: Annotated[tuple[AllowIn, ...], Meta(max_length=50)] = ()
    names: Annotated[tuple[FarNameIn, ...], Meta(max_length=200)] = ()

    @property
    def name(self) -> str:
        """Unique in the farm's part; begins with the network's."""
        return f"{self.near}:{self.region}:{self.far}"


class CalledIn(In, frozen=True, kw_only=True):
    """A tier that tiers in other regions call."""

    tier: Name
    port: Port
    protocol: Literal["tcp", "udp"] = "tcp"


class FarmBlueprintIn(In, frozen=True, kw_only=True):
    """A version of a blueprint that goes with a part of a farm: all that tiers there are made of.

    Images and offerings are said by name: `image_account` is the path of whom the image is of. `digest` is of what the
    version is at home, where it never changes.
    """

    id: Id  # at home
    name: Name
    number: VersionNumber
    digest: Sha256
    image_account: AccountPath
    image_public: bool
    says: BlueprintVersionIn


class FarmVolumeIn(In, frozen=True, kw_only=True):
    """A shared volume of home that a blueprint there `reads`, and what is on it: a disk by its digest, which home has.

    Without a digest there is no copy of it yet, and `told` says why; `id` is empty when home has no such volume.
    """

    id: Id | None = None  # at home
    name: Name
    sha256: Sha256 | None = None
    bytes: Annotated[int, Meta(ge=0, le=MOST)] = 0  # of the file
    virtual_bytes: Annotated[int, Meta(ge=0, le=MOST)] = 0
    told: Annotated[str, Meta(max_length=1024)] = ""


class FarmPartSpec(FarmSpec, frozen=True, kw_only=True):
    """What a part of a farm is to be that has others in other regions. Made by the farm's home region alone."""

    called: Annotated[tuple[CalledIn, ...], Meta(max_length=200)] = ()
    links: Annotated[tuple[LinkIn, ...], Meta(max_length=200)] = ()
    keys: Annotated[int, Meta(ge=0, le=MOST)] = 0  # grows when its links shall have other keys
    zone: NameOrId | None = None  # where there; null: in the only one
    blueprints: Annotated[tuple[FarmBlueprintIn, ...], Meta(max_length=50)] = ()
    texts: Annotated[dict[Name, Whole], Meta(max_length=50)] = field(
        default_factory=dict
    )  # how many texts each secret had
    volumes: Annotated[tuple[FarmVolumeIn, ...], Meta(max_length=300)] = ()


class FarmIn(FarmSpec, frozen=True, kw_only=True):
    """A new farm. Parts of it are in other regions where its tiers say so."""

    name: Annotated[Name, Meta(examples=["shop"])]
    zone: Annotated[
        NameOrId | None, Meta(description="Where; may be left out while there is one zone only.")
    ] = None
    storage_zone: Annotated[
        NameOrId | None,
        Meta(description="Whose volumes its machines reach; null: it has one of its own."),
    ] = None


class FarmChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays. A list that is said is complete."""

    networks: Networks | UnsetType = UNSET
    tiers: Tiers | UnsetType = UNSET
    passages: Passages | UnsetType = UNSET
    ways_in: WaysIn | UnsetType = UNSET
    time_zone: ZoneName | UnsetType = UNSET
    secrets: Secrets | UnsetType = UNSET
    ssh_keys: Keys | UnsetType = UNSET
    storage_zone: Annotated[
        NameOrId | UnsetType, Meta(description="The one that it was made with: that stays.")
    ] = UNSET


class FarmStepOut(Out, frozen=True, kw_only=True):
    """What was done, or would be: + made, ~ changed, - let go, = left as it is."""

    sign: Literal["+", "~", "-", "="]
    what: Annotated[str, Meta(examples=["network"])]
    name: str
    about: str
    id: str | None = None


class FarmTierOut(Out, frozen=True, kw_only=True):
    """A tier in short."""

    id: str
    name: str
    blueprint: str
    blueprint_version: int
    image_version: int
    least: int
    most: int
    count: Annotated[int, Meta(description="So many there should be now.")]
    serving: Annotated[int, Meta(description="So many take part.")]
    leaving: bool
    told: str


class FarmRegionTierOut(Out, frozen=True, kw_only=True):
    """A tier of a farm in another region, as that one told last."""

    name: str
    count: Annotated[int, Meta(description="So many there should be.")]
    serving: Annotated[int, Meta(description="So many take part.")]
    told: str


class FarmRegionOut(Out, frozen=True, kw_only=True):
    """A farm's part in another region."""

    region: str
    state: Annotated[
        Literal["waits", "refused", "changing", "ready", "leaving"],
        Meta(
            description=(
                "`waits`: it does not know yet what it should be; `refused`: it won't, and `told` says why; "
                "`changing`: it becomes so; `ready`: it is; `leaving`: it is let go."
            )
        ),
    ]
    told: str
    farm: Annotated[str | None, Meta(description="What the part is called there, by id.")]
    tiers: list[FarmRegionTierOut]
    heard_at: Annotated[
        datetime | None, Meta(description="Of when this is: it was heard last; null: never.")
    ]


class FarmHomeOut(Out, frozen=True, kw_only=True):
    """The farm of another region of which this one is a part: it alone changes it."""

    region: str
    farm: str


class FarmOut(Out, frozen=True, kw_only=True):
    """A farm: the customer's private data centre in a zone. The default one is made on first use."""

    id: Annotated[str, Meta(examples=["farm-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    zone: str
    name: str
    state: Literal["ready", "leaving"]
    spec: Annotated[
        dict[str, Any] | None,
        Meta(description="The document that it is laid out by; null: it is filled by hand."),
    ]
    tiers: list[FarmTierOut]
    by_hand: Annotated[int, Meta(description="Machines in it that are no tier's.")]
    storage_zone: Annotated[
        str,
        Meta(description="Whose volumes its machines reach; its own is called by the farm's id."),
    ]
    operation: Annotated[str | None, Meta(description="The last change of its document.")]
    told: Annotated[str, Meta(description="What it waits for, if something was refused.")]
    regions: Annotated[
        tuple[FarmRegionOut, ...], Meta(description="Its parts in other regions, by name.")
    ] = ()
    home: Annotated[
        FarmHomeOut | None, Meta(description="Whose part this is; null: it is a farm of its own.")
    ] = None
    generation: int
    created_at: datetime


class FarmMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: networks and the ways through them are kept, elements follow. Tried, it is the plan."""

    operation: str
    farm: FarmOut
    steps: list[FarmStepOut]


class FarmQuery(PageQuery, frozen=True, kw_only=True):
    """Which farms."""

    zone: Id | None = None
    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
    storage_zone: Annotated[Id | None, Meta(description="Made with this storage zone.")] = None
    account: Id | None = None
