"""How load balancers look outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import DrainSeconds, Id, In, Name, NameOrId, Out, PageQuery
from arable.wire.rules import AnyCidr, Cidr6, Port

ProtocolName = Annotated[
    Literal["tcp", "http"],
    Meta(description="tcp: connections are spread as they are; http: requests are."),
]
AlgorithmName = Annotated[
    Literal["round-robin", "least-connections", "source"],
    Meta(description="Who gets the next one; source: by the client's address."),
]
StickinessName = Annotated[
    Literal["none", "source", "cookie"],
    Meta(
        description="How clients come back to the member they had: by address, or by a cookie (HTTP)."
    ),
]
Weight = Annotated[int, Meta(ge=1, le=256, description="Its share, beside those of the others.")]
Seconds = Annotated[int, Meta(ge=1, le=300)]
Times = Annotated[int, Meta(ge=1, le=20)]
Status = Annotated[int, Meta(ge=100, le=599)]
Pem = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=65_536,
        pattern=r"^[\t\n\r -~]+$(?!\n)",
        description="PEM, the server's certificate first, then those of its issuers.",
    ),
]
PrivateKey = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=16_384,
        pattern=r"^[\t\n\r -~]+$(?!\n)",
        description="The certificate's key: PEM, without a passphrase. Kept encrypted, and never shown.",
    ),
]


class CheckIn(In, frozen=True, kw_only=True):
    """How is seen whether a member works. HTTP asks for a path, TCP for a connection."""

    kind: Literal["tcp", "http"] = "tcp"
    path: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=255,
            pattern=r"^/[A-Za-z0-9/._~=&?:@+-]*$(?!\n)",
            description="HTTP: what is asked for.",
            examples=["/health"],
        ),
    ] = "/"
    lowest_status: Annotated[Status, Meta(description="HTTP: from this answer on it is well …")] = (
        200
    )
    highest_status: Annotated[Status, Meta(description="HTTP: … up to this one.")] = 399
    interval: Annotated[Seconds, Meta(description="Seconds between checks.")] = 5
    timeout: Annotated[Seconds, Meta(description="Seconds that an answer may take.")] = 3
    rise: Annotated[Times, Meta(description="Successes in a row that bring it back.")] = 2
    fall: Annotated[Times, Meta(description="Failures in a row that take it out.")] = 3


class MemberIn(In, frozen=True, kw_only=True):
    """A machine; its port on the balancer's network is what counts."""

    machine: NameOrId
    port: Port
    weight: Weight = 1


class MemberChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays."""

    port: Port | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    draining: Annotated[
        bool | UnsetType,
        Meta(description="It gets nobody new, and keeps whom it has; false: it takes part again."),
    ] = UNSET


class RemoveMemberQuery(In, frozen=True, kw_only=True):
    """How a member goes."""

    drain_seconds: DrainSeconds = None


class BalancerIn(In, frozen=True, kw_only=True):
    """A port of an address whose traffic is spread over machines. With a certificate it speaks TLS.

    With an `address` it is called from everywhere; with a `network`, at that network's gateway, by its machines and by
    those of networks with a rule that leads to the port. A `probe` is called by nobody, and checks its members.
    """

    name: Name
    address: Annotated[Id | None, Meta(description="A public address that a network has.")] = None
    network: Annotated[
        Id | None, Meta(description="Instead of an address: the network whose gateway it is at.")
    ] = None
    port: Annotated[Port | None, Meta(description="Of all but probes.")] = None
    probe: Annotated[
        bool, Meta(description="It only checks its members: said with a network, without a port.")
    ] = False
    protocol: ProtocolName = "http"
    algorithm: AlgorithmName = "round-robin"
    stickiness: StickinessName = "none"
    cidr: Annotated[AnyCidr, Meta(description="Who may use it.")] = "0.0.0.0/0"
    cidr6: Annotated[
        Cidr6 | None,
        Meta(
            description="Who may use it by IPv6, at the address that its network has beside the public one (`public6`);"
            " null: nobody. Members are called by IPv4 all the same."
        ),
    ] = None
    check: CheckIn = CheckIn()
    members: Annotated[tuple[MemberIn, ...], Meta(max_length=200)] = ()
    certificate: Pem | None = None
    private_key: PrivateKey | None = None


class BalancerChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays. A `check` is replaced as a whole."""

    name: Name | UnsetType = UNSET
    algorithm: AlgorithmName | UnsetType = UNSET
    stickiness: StickinessName | UnsetType = UNSET
    cidr: Annotated[AnyCidr | UnsetType, Meta(description="Who may use it.")] = UNSET
    cidr6: Annotated[
        Cidr6 | UnsetType | None, Meta(description="Who may use it by IPv6; null: nobody.")
    ] = UNSET
    check: CheckIn | UnsetType = UNSET
    certificate: Annotated[
        Pem | UnsetType | None, Meta(description="With its key; null: no TLS any more.")
    ] = UNSET
    private_key: PrivateKey | UnsetType = UNSET


class CheckOut(Out, frozen=True, kw_only=True):
    """How is seen whether a member works."""

    kind: Literal["tcp", "http"]
    path: str
    lowest_status: int
    highest_status: int
    interval: int
    timeout: int
    rise: int
    fall: int


class MemberOut(Out, frozen=True, kw_only=True):
    """A member. `up` is what its last check said; null: nothing yet."""

    machine: str
    machine_name: str
    nic: str
    address: str
    port: int
    weight: int
    draining: bool
    up: bool | None
    told: Annotated[str, Meta(description="What the last check found.")]


class BalancerOut(Out, frozen=True, kw_only=True):
    """A balancer."""

    id: Annotated[str, Meta(examples=["balancer-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    network: str
    name: str
    kind: Annotated[
        Literal["public", "inner", "probe"],
        Meta(description="Called at a public address, at its network's gateway, or nowhere."),
    ]
    address: Annotated[str | None, Meta(description="The public address, by id.")]
    public: Annotated[str | None, Meta(description="The public address itself.")]
    called_at: Annotated[
        str | None,
        Meta(description="Where it is: the public address, or its network's gateway."),
    ]
    port: int | None
    protocol: str
    algorithm: str
    stickiness: str
    cidr: str
    public6: Annotated[str | None, Meta(description="Where it is called by IPv6; null: it is not.")]
    cidr6: str | None
    check: CheckOut
    members: list[MemberOut]
    tls: bool
    certificate: Annotated[str | None, Meta(description="Its certificates; the key is not shown.")]
    certificate_until: datetime | None
    generation: int
    created_at: datetime


class BalancerMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: it is kept, and in effect when the operation is done."""

    operation: str
    balancer: BalancerOut


class MemberStatsOut(Out, frozen=True, kw_only=True):
    """What a member did since the balancer's process was last made anew."""

    machine: str
    machine_name: str
    up: bool
    well: Annotated[
        bool | None,
        Meta(description="Whether its own checks have passed; null: none was made yet."),
    ]
    told: str
    weight: Annotated[
        int | None, Meta(description="The weight that it has by now; 0: it drains. Null: not told.")
    ]
    sessions: Annotated[int, Meta(description="Now.")]
    all_sessions: int
    errors: Annotated[int, Meta(description="HTTP alone: answers with a status of 500 or above.")]
    received_bytes: Annotated[int, Meta(description="From clients.")]
    sent_bytes: int


class BalancerStatsOut(Out, frozen=True, kw_only=True):
    """What a balancer does, as it was told last: every ten seconds or so, when there was something new.

    Counters begin anew with its process, as happens when anything but its members is changed.
    """

    at: datetime
    sessions: Annotated[int, Meta(description="Now.")]
    all_sessions: int
    requests: Annotated[int, Meta(description="HTTP alone.")]
    session_rate: Annotated[int, Meta(description="New connections in the last second.")]
    request_rate: Annotated[int, Meta(description="Requests in the last second; HTTP alone.")]
    response_ms: Annotated[
        int,
        Meta(
            description="Mean milliseconds to the end of an answer, over the last 1,024 requests;"
            " TCP: how long connections last."
        ),
    ]
    received_bytes: Annotated[int, Meta(description="From clients.")]
    sent_bytes: int
    members: list[MemberStatsOut]


class BalancerQuery(PageQuery, frozen=True, kw_only=True):
    """Which balancers."""

    network: Id | None = None
    address: Id | None = None
    name: Name | None = None
    account: Id | None = None
