"""What of a pool could be brought back from its replicas, and what could not, and why (docs/decisions/0051).

All disks of a machine go together, to one pool, or not at all: it would not run with some of them.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, update

from arable.domain.host import HostState
from arable.domain.ids import MachineId, OperationId, PoolId, VolumeId
from arable.domain.replica import ReplicaState
from arable.store import attention, moves, recoveries, volume_replicas
from arable.store import schema as t
from arable.store.attention import VolumeRow
from arable.store.database import Tx
from arable.store.many import among
from arable.store.volume_replicas import Replica

TOPIC = "replicas"
MOST = 2000
_v, _p = t.volume.c, t.pool.c


class Group(NamedTuple):
    """A machine's disks, or a volume that no machine has. With `why` they stay where they are."""

    machine: MachineId | None
    replicas: tuple[Replica, ...]
    why: str

    @property
    def since(self) -> datetime | None:
        """What was written to any of them after that is lost."""
        points = [row.point_at for row in self.replicas]
        known = [at for at in points if at is not None]
        return min(known) if known and len(known) == len(points) else None


def begin(tx: Tx, pool: PoolId, operation: OperationId | None) -> None:
    """An operator has asked for it; None: it is over."""
    tx.execute(update(t.pool).where(_p.id == pool).values(fail_over=operation))


def asked(tx: Tx) -> dict[PoolId, OperationId]:
    """Pools of which operators have asked for it."""
    query = select(_p.id, _p.fail_over).where(_p.fail_over.is_not(None))
    return {row.id: row.fail_over for row in tx.execute(query)}


def machines_of(tx: Tx, pool: PoolId) -> list[tuple[VolumeId, MachineId | None]]:
    """Volumes of the pool that are to have replicas, and whose they are."""
    query = (
        select(_v.id, _v.machine)
        .where(_v.pool == pool, _v.replicated, ~_v.erasing)
        .order_by(_v.id)
        .limit(MOST)
    )
    return [(row.id, row.machine) for row in tx.execute(query)]


def groups(tx: Tx, pool: PoolId, found: Sequence[tuple[VolumeId, MachineId | None]]) -> list[Group]:
    """These volumes with all that goes with them."""
    machines = sorted({machine for _, machine in found if machine})
    disks = attention.volumes(tx, machines)
    loose = [id_ for id_, machine in found if machine is None]
    every = [*loose, *(v.id for rows in disks.values() for v in rows)]
    rows = volume_replicas.of_volumes(tx, every)
    own = {row.volume: row for row in rows if row.there == row.id}
    states = recoveries.names(tx, {row.target_host for row in own.values() if row.target_host})
    ready = {host for host, (_name, state) in states.items() if state == HostState.UP}
    bound, viewed = moves.bound(tx, machines), _viewed(tx, every)

    def why(volumes: Collection[VolumeRow | VolumeId]) -> str:
        ids = [v if isinstance(v, str) else v.id for v in volumes]
        mine = [own.get(id_) for id_ in ids]
        pointed = [r for r in mine if r and r.state == ReplicaState.FOLLOWING and r.point]
        if len(pointed) < len(ids):
            lacking = [i for i in ids if i not in {r.volume for r in pointed}]
            return f"{lacking[0]} has no replica with a whole point"
        if len({row.target for row in pointed}) > 1:
            return "the replicas of its disks are in several pools"
        if any(row.target_host not in ready for row in pointed):
            return "the host of its replica is not up"
        if any(id_ in viewed for id_ in ids):
            return "machines read it by views"
        return ""

    made = []
    for machine in machines:
        volumes = disks.get(machine, [])
        told = why(volumes)
        if any(v.view_of for v in volumes):
            told = "it reads another volume by a view"
        elif any(v.pool != pool for v in volumes):
            told = "not all its disks are in that pool"
        elif machine in bound:
            told = "it is on its way to another host; that has to end first"
        made.append(Group(machine, tuple(own[v.id] for v in volumes if v.id in own), told))
    made += [Group(None, tuple(own[i] for i in [id_] if i in own), why([id_])) for id_ in loose]
    return made


def _viewed(tx: Tx, ids: Collection[VolumeId]) -> set[VolumeId]:
    query = select(_v.view_of).where(among(tx, _v.view_of, ids)).distinct()
    return set(tx.scalars(query)) if ids else set()
