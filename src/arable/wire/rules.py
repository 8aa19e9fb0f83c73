"""How the rules of routing appliances look outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from arable.wire.common import Id, In, Out, PageQuery

KindName = Literal["forward", "firewall", "static-nat", "between"]
Port = Annotated[int, Meta(ge=1, le=65_535, examples=[8080])]
AnyCidr = Annotated[
    str,
    Meta(
        min_length=9,
        max_length=18,
        pattern=r"^[0-9.]+/[0-9]{1,2}$(?!\n)",
        description="An IPv4 subnet without host bits; 0.0.0.0/0: everybody.",
        examples=["0.0.0.0/0"],
    ),
]


EitherCidr = Annotated[
    str,
    Meta(
        min_length=4,
        max_length=43,
        pattern=r"^([0-9.]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*)/[0-9]{1,3}$(?!\n)",
        description="The other side: a subnet of IPv4 or IPv6 without host bits; 0.0.0.0/0, ::/0: everybody.",
        examples=["0.0.0.0/0", "::/0"],
    ),
]


Cidr6 = Annotated[
    str,
    Meta(
        min_length=4,
        max_length=43,
        pattern=r"^[0-9A-Fa-f:]*:[0-9A-Fa-f:]*/[0-9]{1,3}$(?!\n)",
        description="An IPv6 subnet without host bits; ::/0: everybody.",
        examples=["::/0"],
    ),
]


class ForwardIn(In, frozen=True, kw_only=True):
    """Ports of a public address lead to a machine. Nothing passes the firewall without a rule, or `open`."""

    address: Annotated[Id, Meta(description="A public address that a network has.")]
    protocol: Literal["tcp", "udp"] = "tcp"
    first_port: Port
    last_port: Annotated[Port | None, Meta(description="Null: one port only.")] = None
    machine: Annotated[
        Id, Meta(description="The machine; its port on the network of the address is what counts.")
    ]
    to_port: Annotated[
        Port | None,
        Meta(description="What the first port becomes, the others after it; null: the same."),
    ] = None
    open: Annotated[
        bool, Meta(description="Let the traffic pass the firewall, too; goes when this rule goes.")
    ] = False
    cidr: Annotated[AnyCidr, Meta(description="With `open`: for whom.")] = "0.0.0.0/0"


class StaticNatIn(In, frozen=True, kw_only=True):
    """A public address becomes a machine's, both ways. What may come in is said by rules of the firewall."""

    address: Annotated[
        Id,
        Meta(
            description="A public address that a network has; not its way out, and without other uses."
        ),
    ]
    machine: Annotated[
        Id, Meta(description="The machine; its port on the network of the address is what counts.")
    ]


class FirewallIn(In, frozen=True, kw_only=True):
    """Lets traffic pass. In: nothing passes without a rule. Out: all passes until there is a rule."""

    direction: Literal["in", "out"] = "in"
    address: Annotated[
        Id | None, Meta(description="In, of IPv4: the public address that is asked.")
    ] = None
    network: Annotated[
        Id | None,
        Meta(
            description="Out: the network that asks. In, of IPv6: the one whose machines are asked."
        ),
    ] = None
    protocol: Literal["tcp", "udp", "icmp", "all"] = "tcp"
    cidr: EitherCidr = "0.0.0.0/0"
    first_port: Annotated[Port | None, Meta(description="TCP and UDP; null: all ports.")] = None
    last_port: Annotated[Port | None, Meta(description="Null: one port only.")] = None


class BetweenIn(In, frozen=True, kw_only=True):
    """Lets connections from one network to another begin, router to router. Nothing passes between them without a rule.

    About all of the source, it is about its machines by IPv4 and, where both networks have it, by IPv6.
    """

    source: Annotated[Id, Meta(description="The network whose machines call.")]
    network: Annotated[Id, Meta(description="The network that they call; of the same farm.")]
    protocol: Literal["tcp", "udp", "icmp", "all"] = "tcp"
    cidr: Annotated[
        EitherCidr | None,
        Meta(
            description="A part of the source alone, of IPv4 or IPv6, and by that family alone; null: all of it."
        ),
    ] = None
    first_port: Annotated[Port | None, Meta(description="TCP and UDP; null: all ports.")] = None
    last_port: Annotated[Port | None, Meta(description="Null: one port only.")] = None


class RuleOut(Out, frozen=True, kw_only=True):
    """A rule. `cidr` of a forward that is not open is null: the firewall's rules decide."""

    id: str
    account: str
    network: str
    network_name: str
    kind: KindName
    direction: Literal["in", "out"]
    address: Annotated[str | None, Meta(description="The public address, by id.")]
    public: Annotated[str | None, Meta(description="The public address itself.")]
    protocol: Literal["tcp", "udp", "icmp", "all"]
    cidr: str | None
    open: Annotated[bool, Meta(description="Whether traffic passes by this very rule.")]
    first_port: Annotated[int | None, Meta(description="Null: all ports.")]
    last_port: int | None
    nic: Annotated[
        str | None, Meta(description="Where a forward or static NAT leads: a machine's port.")
    ]
    machine: Annotated[str | None, Meta(description="Whose port that is, by id.")]
    machine_name: str | None
    to_port: int | None
    source: Annotated[
        str | None, Meta(description="Between networks: where connections come from, by id.")
    ]
    source_name: str | None
    created_at: datetime


class RuleMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: the rule is kept, and in effect when the operation is done."""

    operation: str
    rule: RuleOut


class RuleQuery(PageQuery, frozen=True, kw_only=True):
    """Which rules."""

    network: Id | None = None
    address: Id | None = None
    nic: Id | None = None
    source: Id | None = None
    kind: KindName | None = None
    account: Id | None = None
