"""A host as the management plane sees it."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import HostId, JoinTokenId, PodId, PoolId, ZoneId
from arable.domain.lifecycle import table
from arable.domain.manifest import Inventory


class HostState(StrEnum):
    """Whether a host can be relied on."""

    JOINED = "joined"  # has its certificate, was never heard
    UP = "up"
    SILENT = "silent"  # its channel is gone or mute; what runs there is left alone
    DOWN = (
        "down"  # nobody sees it any more (`host_health.py`), or an operator said so: it is given up
    )
    ASLEEP = (
        "asleep"  # without power, as nothing is to be done there; or being woken, and not heard yet
    )


class HostEvent(StrEnum):
    """What happens to it."""

    HEAR = "hear"  # its agent speaks to a management server
    MISS = "miss"  # its agent was not heard for too long; whether the host runs is another question
    LOSE = "lose"  # nor does anybody else see it
    DECLARE = "declare"  # an operator says that it is down
    SEE_OFF = "see off"  # it is without power
    POWER_ON = "power on"  # it has power again, and is given time to come up
    FALL_ASLEEP = "fall asleep"  # it is without power, as it should be


_S, _E = HostState, HostEvent
HOST = table(
    _S.JOINED,
    set(),
    #  while      this happens  it becomes
    (_S.JOINED, _E.HEAR, _S.UP),
    (_S.UP, _E.HEAR, _S.UP),
    (_S.UP, _E.MISS, _S.SILENT),
    (_S.UP, _E.LOSE, _S.DOWN),
    (_S.UP, _E.SEE_OFF, _S.DOWN),
    (_S.SILENT, _E.HEAR, _S.UP),
    (_S.SILENT, _E.LOSE, _S.DOWN),
    (_S.SILENT, _E.DECLARE, _S.DOWN),
    (_S.SILENT, _E.SEE_OFF, _S.DOWN),
    (_S.DOWN, _E.HEAR, _S.UP),
    (_S.DOWN, _E.SEE_OFF, _S.DOWN),
    (_S.DOWN, _E.POWER_ON, _S.SILENT),
    (_S.UP, _E.FALL_ASLEEP, _S.ASLEEP),
    (_S.SILENT, _E.FALL_ASLEEP, _S.ASLEEP),
    (_S.DOWN, _E.FALL_ASLEEP, _S.ASLEEP),
    (_S.ASLEEP, _E.FALL_ASLEEP, _S.ASLEEP),
    (_S.ASLEEP, _E.SEE_OFF, _S.ASLEEP),
    (_S.ASLEEP, _E.POWER_ON, _S.ASLEEP),
    (_S.ASLEEP, _E.HEAR, _S.UP),
    (_S.ASLEEP, _E.MISS, _S.SILENT),
)


DIMENSIONS = ("cpu_mhz", "memory_mib", "disk_mib")
"""What is reserved on a host, and may be over-committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host as it is kept. Capacity is what it has; `…_percent` of it may be reserved."""

    id: HostId
    zone: ZoneId
    pod: PodId
    name: str
    state: HostState = HostState.JOINED
    maintenance: bool = False
    maintenance_stops: bool = False  # what can't leave it is stopped, until it is over
    roles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    pool: PoolId | None = None
    cpus: int = 0
    cpu_mhz: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    cpu_percent: int = 400
    memory_percent: int = 100
    disk_percent: int = 200
    reserved_cpus: int = 0
    reserved_cpu_mhz: int = 0
    reserved_memory_mib: int = 0
    reserved_disk_mib: int = 0
    machines: int = 0
    manifest_generation: int = 0
    acked_generation: int = 0
    server: str = ""
    seen_at: datetime | None = None
    disk_full: bool = False  # its pool gets no further disks
    powered_off: bool = False  # seen without power, and kept so until somebody powers it on
    told: str = ""  # why it is silent or down
    held_back: bool = False  # would be down, had not most others been lost with it
    excused_until: datetime | None = (
        None  # it has just been powered on: until then nobody misses it
    )
    peer_address: str = ""  # where other hosts may ask whether it is there
    tunnel_address: str = ""  # where its tunnels to other hosts end; empty: it has none
    rests: bool = False  # it is to be without power until it is needed
    rests_since: datetime | None = None  # when that was last changed
    idle_since: datetime | None = None  # noted only while idle hosts may sleep
    removing: bool = False  # it will never come back: what it had is given up, then it is forgotten
    epoch: int = 1  # grows when it is let in anew; certificates of earlier ones are refused
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Host":
        """The same host with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)

    def reserved(self, dimension: str) -> int:
        """How much of it is taken."""
        return int(getattr(self, f"reserved_{dimension}"))

    def limit(self, dimension: str) -> int:
        """How much of it can be taken."""
        return int(getattr(self, dimension) * self.percent(dimension) // 100)

    def percent(self, dimension: str) -> int:
        """Its over-commit: 100 is none."""
        return int(getattr(self, f"{dimension.partition('_')[0]}_percent"))


def measured(host: Host, told: Inventory) -> dict[str, Any]:
    """The columns that change when a host tells what it has; empty when nothing does.

    What is reserved stays within the capacity (rule 2), so a host that shrank below what runs there keeps the least
    capacity that holds it, and `facts["short"]` says what is missing: nothing more is placed there, and its operator
    sees why.
    """
    short: dict[str, int] = {}
    capacity: dict[str, int] = {"cpus": told.cpus}
    for dimension in DIMENSIONS:
        has = max(0, int(getattr(told, dimension)))
        needs = -(-host.reserved(dimension) * 100 // host.percent(dimension))
        capacity[dimension] = max(has, needs)
        if needs > has:
            short[dimension] = needs - has
    facts: dict[str, Any] = {
        "hypervisor": told.hypervisor,
        "network": told.network,
        "storage": told.storage,
        "version": told.version,
    }
    if told.moves:
        facts["moves"] = told.moves
    if keeps_its_pool(host, told):
        facts["unshared"] = UNSHARED
    if told.mounts:
        facts["mounts"] = sorted(told.mounts)
    if told.vm_routers:
        facts["vm_routers"] = True
        if told.vm_router_mib:
            facts["vm_router_mib"] = told.vm_router_mib
    if short:
        facts["short"] = short
    addresses = {"peer_address": told.peer_address, "tunnel_address": told.tunnel_address}
    now = {**capacity, "facts": facts, **addresses}
    return {name: value for name, value in now.items() if getattr(host, name) != value}


UNSHARED = (
    "its agent would share its disks with other hosts; they stay its own, since it has the role compute:"
    " its guests open disks there without a lease"
)


def keeps_its_pool(host: Host, told: Inventory) -> bool:
    """Whether its agent would share its disks, and it may not, as it is to run machines itself."""
    return bool(told.shares) and "compute" in host.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """Lets one host join one pod. The token's text is kept nowhere; what comes with it says who the host is.

    With a `host`, a token that was not used yet lets that one in anew and makes no other.
    """

    id: JoinTokenId
    pod: PodId
    secret_hash: str
    roles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    expires_at: datetime
    used_at: datetime | None = None
    host: HostId | None = None
    request_hash: str = (
        ""  # of the signing request that used it, so that a lost answer can be given again
    )
    created_at: datetime
