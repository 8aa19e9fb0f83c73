"""What controllers have work with, read in bulk and raw: rows of plain values, JSON left as text.

A thousand machines at a time pass through here; the careful values of `domain` are made where one machine is looked at.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import func, select, type_coerce, update
from sqlalchemy.types import Text

from arable.domain.ids import (
    AccountId,
    HostId,
    MachineId,
    NetworkId,
    NicId,
    OperationId,
    PoolId,
    VolumeId,
    ZoneId,
)
from arable.store import schema
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import change_rows

R = TypeVar("R", bound=tuple[Any, ...])

_m = schema.machine.c


class MachineRow(NamedTuple):
    """A machine as the controllers need it; `boot`, `seed` and `placement` are JSON text."""

    id: MachineId
    account: AccountId
    zone: ZoneId
    name: str
    state: str
    wish: str
    host: HostId | None
    attention: bool
    cpus: int
    cpu_mhz: int
    memory_mib: int
    network_kbps: int
    disk_iops: int
    disk_bytes_per_second: int
    boots: int
    force: bool
    tries: int
    told: int
    ran: bool
    giving_up: bool
    operation: OperationId | None
    generation: int
    boot: str
    seed: str
    placement: str
    why: str


_MACHINE = select(
    *(_m[name] for name in MachineRow._fields[:-4]),
    *(type_coerce(_m[name], Text) for name in MachineRow._fields[-4:]),
)


class NicRow(NamedTuple):
    """A NIC with what its port needs of its network."""

    id: NicId
    machine: MachineId
    network: NetworkId
    mac: str
    address: str
    rate_kbps: int
    vlan: int
    appliance_host: HostId | None
    appliance_state: str


class VolumeRow(NamedTuple):
    """A volume, and the host that its pool is local to."""

    id: VolumeId
    machine: MachineId | None
    pool: PoolId | None
    host: HostId | None
    mib: int
    iops: int
    bytes_per_second: int
    source: str | None
    erasing: bool


def machines(tx: Tx, limit: int) -> list[MachineRow]:
    """Machines that want attention, oldest first, locked."""
    query = _MACHINE.where(_m.attention).order_by(_m.id).limit(limit).with_for_update()
    return _rows(MachineRow, tx.execute(query).all())


def machines_by_id(tx: Tx, ids: Iterable[str]) -> dict[MachineId, MachineRow]:
    """These machines, those that exist, locked."""
    found = _rows(
        MachineRow,
        tx.execute(_MACHINE.where(among(tx, _m.id, ids)).order_by(_m.id).with_for_update()).all(),
    )
    return {row.id: row for row in found}


def nics(tx: Tx, of: Iterable[MachineId]) -> dict[MachineId, list[NicRow]]:
    """The NICs of these machines, in order of position."""
    nic, network = schema.nic.c, schema.network.c
    query = (
        select(
            nic.id,
            nic.machine,
            nic.network,
            nic.mac,
            nic.address,
            nic.rate_kbps,
            network.vlan,
            network.appliance_host,
            network.appliance_state,
        )
        .join(schema.network, network.id == nic.network)
        .where(among(tx, nic.machine, of))
        .order_by(nic.machine, nic.position)
    )
    return _grouped(_rows(NicRow, tx.execute(query).all()))


def volumes(tx: Tx, of: Iterable[MachineId]) -> dict[MachineId, list[VolumeRow]]:
    """The volumes of these machines, in order of position."""
    volume, pool = schema.volume.c, schema.pool.c
    query = (
        select(
            volume.id,
            volume.machine,
            volume.pool,
            pool.host,
            volume.mib,
            volume.iops,
            volume.bytes_per_second,
            type_coerce(volume.source, Text),
            volume.erasing,
        )
        .select_from(schema.volume.outerjoin(schema.pool, pool.id == volume.pool))
        .where(among(tx, volume.machine, of))
        .order_by(volume.machine, volume.position)
    )
    return _grouped(_rows(VolumeRow, tx.execute(query).all()))


def local_pools(tx: Tx, hosts: Iterable[HostId]) -> dict[HostId, PoolId]:
    """Each host's local pool."""
    host = schema.host.c
    query = select(host.id, host.pool).where(among(tx, host.id, hosts), host.pool.is_not(None))
    return {at: pool for at, pool in tx.execute(query) if pool}


_MACHINE_COLUMNS = frozenset(_m.keys())


def change_machines(tx: Tx, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Set `columns` of machines, each row a dict of them and `id`; JSON columns as text.

    For controllers only, inside the transaction that read the machines; `generation` is the caller's to raise.
    """
    if not rows:
        return
    unknown = set(columns) - _MACHINE_COLUMNS
    if unknown:
        raise ValueError(f"no such columns: {sorted(unknown)}")
    values = itemgetter(*columns, "id")
    change_rows(tx, schema.machine, tuple(columns), [values(row) for row in rows])


def adopt_volumes(tx: Tx, pairs: Sequence[tuple[PoolId, VolumeRow]]) -> None:
    """These volumes are on these pools from now on."""
    if pairs:
        rows = [(pool, volume.id) for pool, volume in pairs]
        change_rows(tx, schema.volume, ("pool",), rows)


def mark_erasing(tx: Tx, ids: Sequence[VolumeId]) -> None:
    """These volumes' hosts were told to erase them."""
    volume = schema.volume
    tx.execute(update(volume).where(among(tx, volume.c.id, ids)).values(erasing=True))


def wake_machines(tx: Tx, network: NetworkId) -> None:
    """Machines that waited for this network's appliance should be looked at again."""
    nic = schema.nic.c
    waiting = select(nic.machine).where(nic.network == network)
    tx.execute(
        update(schema.machine)
        .where(_m.id.in_(waiting), _m.state == "waiting")
        .values(attention=True)
    )


def destroyed_before(tx: Tx, at: datetime, limit: int) -> list[MachineId]:
    """Machines whose time to be recovered is over."""
    query = (
        select(_m.id)
        .where(_m.destroyed_at.is_not(None), _m.destroyed_at < at, _m.state == "destroyed")
        .order_by(_m.destroyed_at)
        .limit(limit)
    )
    return list(tx.scalars(query))


def remove_machines(tx: Tx, ids: Sequence[MachineId]) -> None:
    """Their rows, NICs, rules to them and volumes; the caller has given back what they held."""
    nic, volume, member, rule = schema.nic, schema.volume, schema.group_member, schema.rule
    mine = select(nic.c.id).where(among(tx, nic.c.machine, ids))
    tx.execute(rule.delete().where(rule.c.nic.in_(mine)))
    tx.execute(nic.delete().where(among(tx, nic.c.machine, ids)))
    tx.execute(volume.delete().where(among(tx, volume.c.machine, ids)))
    tx.execute(member.delete().where(among(tx, member.c.machine, ids)))
    usage = schema.machine_usage
    tx.execute(usage.delete().where(among(tx, usage.c.machine, ids)))
    tx.execute(schema.machine.delete().where(among(tx, _m.id, ids)))


def count_machines(tx: Tx) -> dict[str, int]:
    """How many machines are in each state."""
    query = select(_m.state, func.count()).group_by(_m.state)
    return dict(tx.execute(query).all())


def stamp(at: datetime) -> int:
    """A point in time as `change_machines` wants it."""
    return micros(at)


def _rows(kind: type[R], rows: Sequence[Any]) -> list[R]:
    made: Any = kind
    return [made._make(row) for row in rows]


def _grouped(rows: list[R]) -> dict[MachineId, list[R]]:
    found: dict[MachineId, list[R]] = {}
    row: Any
    for row in rows:
        found.setdefault(row.machine, []).append(row)
    return found
