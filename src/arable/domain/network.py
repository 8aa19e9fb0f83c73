"""What a guest network, its routing appliance, its ports, public addresses and rules may be."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import (
    AccountId,
    AddressId,
    FarmId,
    HostId,
    Ipv6RangeId,
    MachineId,
    NetworkId,
    NicId,
    RangeId,
    RuleId,
    ZoneId,
)
from arable.domain.manifest import Direction, Protocol
from arable.domain.router_runtime import RouterRuntime


class NetworkState(StrEnum):
    """A network holds its VLAN until every host has said that nothing of it is left."""

    READY = "ready"
    LEAVING = "leaving"  # deleted by its owner; the row stays until no host has anything of it


class ApplianceState(StrEnum):
    """A network's routing appliance. It runs from before the first machine until some time after the last."""

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    LEAVING = "leaving"  # waits until its host says it is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A guest network as it is kept. `generation` is also the generation of its appliance's wish.

    `vlan` is a VLAN or a VNI (`layer2.py`). No other network of its farm has its `number`.
    """

    id: NetworkId
    account: AccountId
    farm: FarmId
    zone: ZoneId
    name: str
    cidr: str
    gateway: str
    dns_domain: str
    vlan: int
    number: int
    isolated: bool = False  # no way out, and none offered
    resolvers: tuple[str, ...] | None = None  # where other names are asked; None: as its zone says
    restarts: int = 0  # how often its appliance was to be made anew
    state: NetworkState = NetworkState.READY
    next_offset: int = 2  # moved by `store.networks.take_offsets` alone
    appliance_host: HostId | None = None
    appliance_state: ApplianceState = ApplianceState.ABSENT
    appliance_told: str = ""
    appliance_runtime: RouterRuntime = RouterRuntime.NAMESPACE
    ipv6_range: Ipv6RangeId | None = None  # from which it has its /64, by this number
    ipv6_number: int | None = None
    ipv6_cidr: str | None = None
    redundant: bool = False  # two appliances, of which one leads; that is the one above
    standby_host: HostId | None = None
    standby_state: ApplianceState = ApplianceState.ABSENT
    standby_told: str = ""
    idle_since: datetime | None = None
    attention: bool = False
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Network":
        """The same network with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A machine's port on a network. `offset` is its address's distance from the network's first.

    `position` is its place in the machine, which never changes. One that is `leaving` was detached, and keeps MAC and
    address to itself until its machine's host has nothing of it any more (rule 3). One in a place below 0 is no port:
    it keeps an address that its machine has given up until the host has learned of it.
    """

    id: NicId
    machine: MachineId
    network: NetworkId
    account: AccountId
    position: int = 0
    mac: str
    address: str
    offset: int
    rate_kbps: int = 0
    is_default: bool = False  # by which the machine finds its way out
    leaving: bool = False
    ipv6_cidr: str | None = (
        None  # of its network; with the MAC, that is its address (`guest_ipv6.py`)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A public address: free without an account. The one with `source_nat` is its network's way out.

    A `name` is its owner's, unique in account and zone.
    """

    id: AddressId
    zone: ZoneId
    range: RangeId
    address: str
    number: int
    account: AccountId | None = None
    network: NetworkId | None = None
    name: str | None = None
    source_nat: bool = False
    taken_at: datetime | None = None
    generation: int = 1

    def changed(self, **but: Any) -> "Address":
        """The same address with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)

    def released(self) -> "Address":
        """Nobody's. Its network's appliance may still answer for it."""
        return self.changed(account=None, name=None, source_nat=False, taken_at=None)


class RuleKind(StrEnum):
    """What a rule does."""

    FORWARD = "forward"  # a public address's ports lead to a machine's port
    FIREWALL = "firewall"  # traffic may pass
    STATIC_NAT = "static-nat"  # a public address is a machine's port, both ways
    BETWEEN = "between"  # connections from another network of the farm may begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of a network's appliance.

    A forward's `cidr` is who may use it without a further firewall rule: `0.0.0.0/0` for everybody, empty for
    nobody. So a forward and its opening are one row, and go together. Between networks, `source` is where connections
    come from, and `cidr` the part of it that may begin them.
    """

    id: RuleId
    account: AccountId
    network: NetworkId
    address: AddressId | None
    kind: RuleKind
    direction: Direction = Direction.IN
    protocol: Protocol
    cidr: str = ""
    first_port: int = 0
    last_port: int = 0
    nic: NicId | None = None
    to_port: int = 0
    source: NetworkId | None = None
    generation: int = 1
    created_at: datetime
