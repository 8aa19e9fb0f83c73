"""Load balancers: an address and port whose traffic a network's routing appliance spreads over machines.

Values in three forms: as kept (`Balancer`, `Member`), as the appliance is told (`BalancerWish`), as it was seen.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import AccountId, AddressId, BalancerId, MachineId, NetworkId, NicId

NAMES_PORT = 53
"""Where a router answers for names, at its gateway: no inner balancer is there."""


class BalancerKind(StrEnum):
    """Where it is called."""

    PUBLIC = "public"  # at a public address of its network
    INNER = "inner"  # at its network's gateway: from there, and from networks with a rule that leads to this port
    PROBE = "probe"  # nowhere: it checks its members


class Traffic(StrEnum):
    """What is spread: connections as they are, or requests, which may be looked into."""

    TCP = "tcp"
    HTTP = "http"


class Algorithm(StrEnum):
    """Who gets the next one."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    SOURCE = "source"  # by the client's address, as long as the members are the same


class Stickiness(StrEnum):
    """How a client comes back to the member that it had."""

    NONE = "none"
    SOURCE = "source"  # by its address, for half an hour after its last connection
    COOKIE = "cookie"  # HTTP alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How is seen whether a member works: it takes connections, or answers `path` with one of these statuses.

    `fall` failures in a row take a member out, `rise` successes bring it back. Times are in seconds.
    """

    kind: Traffic = Traffic.TCP
    path: str = "/"
    lowest_status: int = 200
    highest_status: int = 399
    interval: int = 5
    timeout: int = 3
    rise: int = 2
    fall: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancer:
    """A balancer as it is kept. With a `certificate` (PEM, the whole chain) it speaks TLS.

    Only a public one has an `address`; a probe's `port` is 0. `sealed` is the certificate's private key, encrypted;
    `cidr` who may use it, `cidr6` who by IPv6: empty, nobody.
    """

    id: BalancerId
    account: AccountId
    network: NetworkId
    kind: BalancerKind = BalancerKind.PUBLIC
    address: AddressId | None
    name: str
    port: int
    traffic: Traffic
    algorithm: Algorithm
    stickiness: Stickiness
    cidr: str
    cidr6: str = ""
    check: Check
    certificate: str = ""
    sealed: str = ""
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Balancer":
        """The same balancer with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A machine's port that a balancer leads to. One that drains gets nobody new and keeps whom it has.

    One is `paused` in the same way while its machine is stopped after it was drained.
    """

    balancer: BalancerId
    machine: MachineId
    nic: NicId
    port: int
    weight: int = 1
    draining: bool = False
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """From `least` to `most`, both of them in it."""

    least: int = 0
    most: int

    def __contains__(self, figure: int) -> bool:
        return self.least <= figure <= self.most


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """Somebody waits for news of a balancer: of its members' health and weights, and of figures that leave their bands.

    Within them nothing is told but with the heartbeat, so a band costs nothing while it holds. Units as in `BalancerSeen`.
    """

    sessions: Band | None = None
    session_rate: Band | None = None
    request_rate: Band | None = None
    response_ms: Band | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberWish:
    """`to`:`port` gets its share. With weight 0 it drains."""

    nic: NicId
    to: str
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerWish:
    """What the appliance is told. The key stands in the store `sealed`, and open (`key`) only from a server to an agent.

    Without a `public` address it is at the gateway, and with port 0 nowhere. With `calm` it is watched. With `cidr6` it is
    called by IPv6, too, at the address that goes with its public one.
    """

    id: BalancerId
    public: str = ""
    port: int
    traffic: Traffic
    algorithm: Algorithm = Algorithm.ROUND_ROBIN
    stickiness: Stickiness = Stickiness.NONE
    cidr: str = "0.0.0.0/0"
    check: Check = Check()
    members: tuple[MemberWish, ...] = ()
    certificate: str = ""
    calm: Calm | None = None
    sealed: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    cidr6: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameWish:
    """In the network's domain `name` (`app.shop`, say) is `address`: in the network itself, or in a neighbour."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSeen:
    """A member as the appliance sees it. Counters are since the balancer's process was last made anew.

    `weight` is what it has there, which may not be yet what it was given last: with 0 and no session, in one look, it
    is drained. `well` says whether its own checks have passed, None before the first of them; `up`, whether it is used.
    """

    nic: NicId
    up: bool
    told: str = ""  # what the last check found
    weight: int = -1  # -1: not told
    well: bool | None = None
    sessions: int = 0  # now
    all_sessions: int = 0
    errors: int = 0  # answers from 500 on
    received_bytes: int = 0  # from clients
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerSeen:
    """A balancer as its appliance sees it; `requests` are of HTTP.

    Rates are of the last second. `response_ms` is the mean time from a request to the end of its answer, over the last
    1,024 of them; of TCP, how long a connection lasts.
    """

    id: BalancerId
    sessions: int = 0  # now
    all_sessions: int = 0
    requests: int = 0
    session_rate: int = 0
    request_rate: int = 0
    response_ms: int = 0
    received_bytes: int = 0  # from clients
    sent_bytes: int = 0
    members: tuple[MemberSeen, ...] = ()

    @property
    def ill(self) -> int:
        """Members that are to take part, and whose checks fail."""
        return sum(one.well is False and one.weight != 0 for one in self.members)


def stirs(calm: Calm, before: BalancerSeen | None, now: BalancerSeen) -> bool:
    """Whether there is something to tell at once, of a balancer of which `before` was told last.

    A member's health or weight is another; one that drains has got rid of its last session, or has some again; or a
    figure is outside its band, and not as it was told.
    """
    if before is None or _standings(before) != _standings(now):
        return True
    return any(
        band is not None and figure not in band and figure != told
        for band, told, figure in (
            (calm.sessions, before.sessions, now.sessions),
            (calm.session_rate, before.session_rate, now.session_rate),
            (calm.request_rate, before.request_rate, now.request_rate),
            (calm.response_ms, before.response_ms, now.response_ms),
        )
    )


def _standings(seen: BalancerSeen) -> list[tuple[object, ...]]:
    return [
        (one.nic, one.up, one.well, one.weight, one.weight == 0 and one.sessions > 0)
        for one in seen.members
    ]
