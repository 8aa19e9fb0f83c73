"""Shared pools for machines that are being placed: which hosts reach one with room, and which one each gets.

All disks of a machine are in one pool, and any host of the pool's pod may run it; from a pool of files, any that has it
mounted. A pool's room is the disk of its
storage host, reserved as any host's (rule 2).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from arable.domain.ids import HostId, MachineId, PodId, PoolId, ZoneId
from arable.domain.units import Size
from arable.placement.choose import Placed
from arable.placement.view import ZoneView
from arable.store import exports, moves, pools
from arable.store.attention import VolumeRow
from arable.store.database import Tx
from arable.store.pools import SharedPool


@dataclass(slots=True)
class Shelves:
    """One round's view of a zone's shared pools. Free amounts shrink as disks are assigned."""

    free: dict[PoolId, int] = field(default_factory=dict)
    homeless: frozenset[MachineId] = frozenset()  # for them there was no room left
    _pools: dict[PoolId, SharedPool] = field(default_factory=dict)
    _pods: dict[PoolId, PodId] = field(default_factory=dict)  # of pools that hold disks already
    _mounts: dict[PoolId, frozenset[HostId]] = field(default_factory=dict)  # of pools of files
    _new: dict[MachineId, tuple[PoolId, list[VolumeRow]]] = field(default_factory=dict)

    @classmethod
    def of(cls, tx: Tx, zone: ZoneId, volumes: Iterable[VolumeRow]) -> "Shelves":
        """What matters to these volumes; costs nothing when none is shared."""
        shared = [volume for volume in volumes if volume.shared]
        held = {volume.pool for volume in shared if volume.pool}
        found = {pool.id: pool for pool in (pools.shared(tx, zone) if shared else ())}
        free = {id_: pool.free_mib for id_, pool in found.items()}
        mounts = pools.mounts(tx, zone) if shared else {}
        return cls(free, frozenset(), found, pools.pods(tx, held) if held else {}, mounts)

    def reach(self, volumes: Sequence[VolumeRow]) -> frozenset[PodId] | None:
        """The pods whose hosts all reach a machine's shared disks, or could; None for one that has none."""
        if not any(volume.shared for volume in volumes):
            return None
        held = {volume.pool for volume in volumes if volume.pool}
        if held:
            served = held & self._pods.keys() - self._mounts.keys()
            return frozenset(self._pods[pool] for pool in served)
        able = self._able(volumes) - self._mounts.keys()
        return frozenset(self._pools[id_].pod for id_ in able)

    def mounted(self, volumes: Sequence[VolumeRow]) -> frozenset[HostId]:
        """Besides, the hosts that have them mounted, or could get them in a pool of files that they have mounted."""
        if not self._mounts or not any(volume.shared for volume in volumes):
            return frozenset()
        held = {volume.pool for volume in volumes if volume.pool} or self._able(volumes)
        return frozenset().union(*(self._mounts.get(pool, ()) for pool in held))

    def _able(self, volumes: Sequence[VolumeRow]) -> set[PoolId]:
        """Pools with room for all of these."""
        need = sum(volume.mib for volume in volumes)
        return {id_ for id_ in self._pools if self.free[id_] >= need}

    def assign(
        self,
        placed: Iterable[Placed],
        volumes: dict[MachineId, list[VolumeRow]],
        view: ZoneView,
    ) -> None:
        """A pool in its host's pod for each that has none yet, the emptiest; `volumes` say so from then on."""
        homeless = set()
        for each in placed:
            disks = volumes.get(each.machine, [])
            new = [disk for disk in disks if disk.shared and not disk.pool]
            if not new:
                continue
            held = {disk.pool for disk in disks if disk.shared and disk.pool}
            need = sum(disk.mib for disk in new)
            pod = view.hosts[view.index[each.host]].pod
            able = [
                id_
                for id_, pool in self._pools.items()
                if pool.pod == pod and self.free[id_] >= need and (not held or id_ in held)
                if each.host in self._mounts.get(id_, (each.host,))
            ]
            if not able:
                homeless.add(each.machine)
                continue
            chosen = self._pools[min(able, key=lambda id_: (-self.free[id_], id_))]
            self.free[chosen.id] -= need
            self._new[each.machine] = (chosen.id, new)
            volumes[each.machine] = [
                disk._replace(pool=chosen.id, host=chosen.host, address=chosen.address)
                if disk in new
                else disk
                for disk in disks
            ]
        self.homeless = frozenset(homeless)

    def needs(self, machine: MachineId) -> list[tuple[HostId, Size, int]]:
        """What its disks take from their storage host."""
        if machine not in self._new:
            return []
        pool, disks = self._new[machine]
        return [(self._pools[pool].host, Size(disk_mib=sum(disk.mib for disk in disks)), 0)]

    def adopted(self, machine: MachineId) -> list[tuple[PoolId, VolumeRow]]:
        """Its disks that have a pool from now on."""
        pool, disks = self._new.get(machine, (PoolId(""), []))
        return [(pool, disk) for disk in disks]


def next_epochs(tx: Tx, machines: Mapping[MachineId, int]) -> dict[MachineId, int]:
    """An epoch for the next holder of each, above the one that is kept here, all that it was to move by, and all
    that storage hosts know of.
    """
    known, offered = exports.some(tx, machines), moves.epochs(tx, machines)
    return {
        machine: max(
            epoch,
            known[machine].highest if machine in known else 0,
            offered.get(machine, 0),
        )
        + 1
        for machine, epoch in machines.items()
    }
