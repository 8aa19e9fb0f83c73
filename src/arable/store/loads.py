"""How much hosts and machines have to do, where machines can move: what is reserved, and what processors really do."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import BigInteger, func, select, text, type_coerce

from arable.domain.host import HostState
from arable.domain.ids import HostId, MachineId, PodId, ZoneId
from arable.domain.pool import SHARED
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

_h, _m, _u, _v = t.host.c, t.machine.c, t.machine_usage.c, t.move.c


class HostRow(NamedTuple):
    """A host that runs machines, in a pod in which they can move. `millicpus` is what they really use."""

    id: HostId
    pod: PodId
    zone: ZoneId
    cpus: int
    cpu_mhz: int
    limit_mib: int
    reserved_mib: int
    millicpus: int


class Movable(NamedTuple):
    """A machine with shared disks that runs, and when its last move began or ended (0: it never moved)."""

    id: MachineId
    host: HostId
    memory_mib: int
    millicpus: int
    moved_at: int


def hosts(tx: Tx) -> list[HostRow]:
    """Those that are up and take machines, in pods with shared disks in which no machine is on its way."""
    pool, pod = t.pool.c, t.pod.c
    sharing = select(_h.pod).join(t.pool, pool.host == _h.id).where(pool.kind.in_(SHARED))
    other = t.host.alias("other").c
    busy = select(other.pod).join(t.move, _v.source == other.id).where(text("move.stage <> 'over'"))
    used = (
        select(func.coalesce(func.sum(_u.millicpus), 0))
        .select_from(t.machine.join(t.machine_usage, _u.machine == _m.id))
        .where(_m.host == _h.id)
        .correlate(t.host)
        .scalar_subquery()
    )
    query = (
        select(
            _h.id,
            _h.pod,
            _h.zone,
            _h.cpus,
            _h.cpu_mhz,
            _h.memory_mib * _h.memory_percent // 100,
            _h.reserved_memory_mib,
            used,
            _h.roles,
        )
        .join(t.pod, pod.id == _h.pod)
        .where(_h.pod.in_(sharing), _h.pod.not_in(busy))
        .where(_h.state == HostState.UP, ~_h.maintenance, pod.enabled)
        .order_by(_h.id)
    )
    return [HostRow(*row[:-2], int(row[-2])) for row in tx.execute(query) if "compute" in row.roles]


def movable(tx: Tx, hosts: Iterable[HostId]) -> list[Movable]:
    """Machines of these hosts."""
    query = (
        select(
            _m.id,
            _m.host,
            _m.memory_mib,
            func.coalesce(_u.millicpus, 0),
            func.coalesce(type_coerce(_v.changed_at, BigInteger), 0),
        )
        .select_from(
            t.machine.outerjoin(t.machine_usage, _u.machine == _m.id).outerjoin(
                t.move, _v.id == _m.id
            )
        )
        .where(among(tx, _m.host, hosts), _m.epoch > 0, _m.state == "running")
        .where(_m.wish == "running", ~_m.attention)
        .order_by(_m.id)
    )
    return [Movable(*row) for row in tx.execute(query)]
