"""Reports: what changed since the last one, everything on a new connection, statistics at the heartbeat.

The reporter remembers what it said on this connection. A new connection starts from nothing (`reset`), so what was
lost with the old one is said again.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from arable.agent.balancers import BalancerNews
from arable.agent.patience import Patience
from arable.agent.sight import APPLIANCES, HYPERVISOR, NETWORK, Drivers, Sight, ask
from arable.domain.balancer import Calm
from arable.domain.carry import CarrySeen
from arable.domain.ids import (
    BalancerId,
    HostId,
    MachineId,
    NetworkId,
    OperationId,
    ReplicaId,
    VolumeId,
    VpnId,
)
from arable.domain.manifest import (
    ApplianceSeen,
    ExportSeen,
    GuestSeen,
    GuestStats,
    HostReport,
    Inventory,
    PeerLost,
    PoolSeen,
)
from arable.domain.pool import ImageEvicted
from arable.domain.replica import ReplicaSeen
from arable.domain.snapshot import SnapshotSeen
from arable.domain.vpn import VpnSeen
from arable.drivers.appliance.protocol import Tunnels
from arable.drivers.hypervisor.protocol import HasStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is true at the end of a step. Guests are None when the hypervisor can't be asked."""

    generation: int
    guests: dict[MachineId, GuestSeen] | None
    appliances: dict[NetworkId, ApplianceSeen]
    exports: dict[MachineId, ExportSeen]
    scrapped: frozenset[VolumeId]
    snapshots: dict[OperationId, SnapshotSeen]
    carries: dict[OperationId, CarrySeen]
    replicas: dict[ReplicaId, ReplicaSeen]
    evicted: list[ImageEvicted]  # told once
    departed: set[MachineId]  # no longer wished for; told gone once they are
    withdrawn: set[NetworkId]  # the same for appliances
    inventory: Inventory | None
    lost: tuple[PeerLost, ...] = ()
    renewing: tuple[HostId, ...] = ()
    prefixes: Callable[[], tuple[str, ...]] = tuple  # looked for in full reports alone


class Reporter:
    """Makes reports of findings."""

    def __init__(self, host: HostId, drivers: Drivers, patience: Patience) -> None:
        self._host = host
        self._drivers = drivers
        self._patience = patience
        self._balancers = BalancerNews(drivers, patience)
        self._inventory: Inventory | None = None
        self.reset()

    def reset(self) -> None:
        """A new connection: nothing was said on it yet."""
        self._full = True
        self._generation = -1
        self._guests: dict[MachineId, GuestSeen] = {}
        self._appliances: dict[NetworkId, ApplianceSeen] = {}
        self._exports: dict[MachineId, ExportSeen] = {}
        self._balancers.reset()
        self._vpns: dict[VpnId, VpnSeen] = {}
        self._scrapped: frozenset[VolumeId] = frozenset()
        self._snapshots: dict[OperationId, SnapshotSeen] = {}
        self._carries: dict[OperationId, CarrySeen] = {}
        self._replicas: dict[ReplicaId, ReplicaSeen] = {}
        self._vlans: tuple[int, ...] | None = None
        self._lost: frozenset[HostId] = frozenset()
        self._renewing: tuple[HostId, ...] = ()

    @property
    def inventory(self) -> Inventory | None:
        """As it was said last."""
        return self._inventory

    def greeted(self, inventory: Inventory) -> None:
        """What the greeting said."""
        self._inventory = inventory

    def report(
        self,
        seen: Sight,
        now: Findings,
        calms: dict[BalancerId, Calm],
        *,
        heartbeat: bool,
        alive: bool = False,
    ) -> HostReport | None:
        """What is worth saying, or None. What it names counts as said. `alive`: at least that this host is there."""
        full = self._full and now.guests is not None  # a full report without guests would be a lie
        guests, gone = self._new_guests(now, full=full)
        appliances, withdrawn = self._new_appliances(now, full=full)
        exports, unexported = self._new_exports(now, full=full)
        scrapped = now.scrapped if full else now.scrapped - self._scrapped
        said = {} if full else self._snapshots
        snapshots = [one for key, one in now.snapshots.items() if said.get(key) != one]
        told = {} if full else self._carries
        carries = [one for key, one in now.carries.items() if told.get(key) != one]
        kept = {} if full else self._replicas
        replicas = [one for key, one in now.replicas.items() if kept.get(key) != one]
        vlans = None
        if full or heartbeat or seen.replugged:
            vlans = self._new_vlans(always=full or heartbeat)
        inventory = now.inventory if now.inventory != self._inventory else None
        lost = now.lost if full or _hosts(now.lost) != self._lost else None
        renewing = now.renewing if full or now.renewing != self._renewing else None
        news = guests or gone or appliances or withdrawn or scrapped or snapshots or exports
        new = full or heartbeat or alive or vlans is not None or now.generation != self._generation
        if (
            not (new or news or carries or replicas or unexported or now.evicted or inventory)
            and lost is None
            and renewing is None
        ):
            return None
        report = HostReport(
            host=self._host,
            generation=now.generation,
            full=full,
            guests=tuple(guests),
            gone=tuple(gone),
            appliances=tuple(appliances),
            appliances_gone=tuple(withdrawn),
            scrapped=tuple(sorted(scrapped)),
            snapshots=tuple(snapshots),
            carries=tuple(carries),
            replicas=tuple(replicas),
            vlans=vlans,
            prefixes=now.prefixes() if full else (),
            evicted=tuple(now.evicted),
            exports=tuple(exports),
            exports_gone=tuple(unexported),
            pools=self._pools() if full or heartbeat else (),
            stats=self._stats() if heartbeat else (),
            balancers=self._balancers.all(calms) if heartbeat else (),
            vpns=self._new_vpns() if heartbeat else (),
            lost=lost,
            renewing=renewing,
            inventory=inventory,
        )
        self._said(now, vlans, full=full)
        return report

    def glance(
        self, networks: Collection[NetworkId], calms: dict[BalancerId, Calm]
    ) -> HostReport | None:
        """What is worth saying at once of balancers that are watched, and of nothing else; or None."""
        if self._full:
            return None  # first all that there is
        told = self._balancers.stirred(networks, calms)
        if not told:
            return None
        return HostReport(host=self._host, generation=self._generation, balancers=told)

    def _new_guests(self, now: Findings, *, full: bool) -> tuple[list[GuestSeen], list[MachineId]]:
        if now.guests is None:
            return [], []
        said = {} if full else self._guests
        changed = [
            seen
            for machine, seen in now.guests.items()
            if (before := said.get(machine)) is not seen and before != seen
        ]
        gone = (now.departed | self._guests.keys()) - now.guests.keys()
        return changed, sorted(gone)

    def _new_appliances(
        self, now: Findings, *, full: bool
    ) -> tuple[list[ApplianceSeen], list[NetworkId]]:
        said = {} if full else self._appliances
        changed = [seen for network, seen in now.appliances.items() if said.get(network) != seen]
        return changed, sorted((now.withdrawn | self._appliances.keys()) - now.appliances.keys())

    def _new_exports(
        self, now: Findings, *, full: bool
    ) -> tuple[list[ExportSeen], list[MachineId]]:
        said = {} if full else self._exports
        changed = [seen for machine, seen in now.exports.items() if said.get(machine) != seen]
        return changed, sorted(self._exports.keys() - now.exports.keys())

    def _new_vlans(self, *, always: bool) -> tuple[int, ...] | None:
        found = ask(self._drivers.network.vlans, NETWORK, self._patience)
        if found is None:
            return None
        vlans = tuple(sorted(found))
        return vlans if always or vlans != self._vlans else None

    def _pools(self) -> tuple[PoolSeen, ...]:
        seen = (ask(storage.usage, storage.pool, self._patience) for storage in self._drivers.pools)
        return tuple(pool for pool in seen if pool)

    def _stats(self) -> tuple[GuestStats, ...]:
        hypervisor = self._drivers.hypervisor
        if not isinstance(hypervisor, HasStats):
            return ()
        return tuple(ask(hypervisor.stats, HYPERVISOR, self._patience) or ())

    def _new_vpns(self) -> tuple[VpnSeen, ...]:
        """Those of which something is new: one that nobody uses costs nothing."""
        appliances = self._drivers.appliances
        if not isinstance(appliances, Tunnels):
            return ()
        found = {each.id: each for each in ask(appliances.vpns, APPLIANCES, self._patience) or ()}
        new = tuple(each for each in found.values() if self._vpns.get(each.id) != each)
        self._vpns = found
        return new

    def _said(self, now: Findings, vlans: tuple[int, ...] | None, *, full: bool) -> None:
        self._full = self._full and not full
        self._generation = now.generation
        self._inventory = now.inventory
        self._scrapped = now.scrapped
        self._snapshots = now.snapshots
        self._carries = now.carries
        self._replicas = now.replicas
        now.evicted.clear()
        if now.guests is not None:
            self._guests = now.guests
            now.departed.clear()
        self._appliances = now.appliances
        self._exports = now.exports
        self._lost, self._renewing = _hosts(now.lost), now.renewing
        now.withdrawn.clear()
        if vlans is not None:
            self._vlans = vlans


def _hosts(lost: tuple[PeerLost, ...]) -> frozenset[HostId]:
    """Whom, for how long or short."""
    return frozenset(each.host for each in lost)
