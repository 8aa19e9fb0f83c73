"""What controllers have work with, read in bulk and raw: rows of plain values, JSON left as text.

A thousand machines at a time pass through here; the careful values of `domain` are made where one machine is looked at.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Select, bindparam, case, exists, func, select, text, type_coerce, update
from sqlalchemy.types import Text

from arable.domain.ids import (
    AccountId,
    FarmId,
    HostId,
    MachineId,
    NetworkId,
    NicId,
    OperationId,
    PoolId,
    StorageZoneId,
    VolumeId,
    ZoneId,
)
from arable.domain.network import ApplianceState
from arable.store import balancers, machine_news, schema
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.lookup import Among, Lookup
from arable.store.many import among
from arable.store.nudges import nudge
from arable.store.rates import Rates
from arable.store.rows import change_rows, raw

R = TypeVar("R", bound=tuple[Any, ...])

_m = schema.machine.c
# Word for word as the index has it.
_PENDING = text("volume.change <> ''")


class MachineRow(NamedTuple):
    """A machine as the controllers need it; `placement` and `why` are JSON text."""

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
    ran: int
    giving_up: bool
    operation: OperationId | None
    generation: int
    placement: str
    why: str
    epoch: int
    fenced: HostId | None
    highly_available: bool
    recovery: OperationId | None
    uprooted: int = 0


class BootRow(NamedTuple):
    """What a machine starts from, as JSON text, and the password that it is to be given, if any."""

    machine: MachineId
    boot: str
    seed: str
    password: str = ""


class Landed(NamedTuple):
    """Where a machine was placed while it was deployed, and why there, as JSON text."""

    host: HostId
    pool: PoolId
    why: str


class NicRow(NamedTuple):
    """A NIC with what its port needs of its network. Those that are leaving are among them: who wishes skips them."""

    id: NicId
    machine: MachineId
    network: NetworkId
    mac: str
    address: str
    rate_kbps: int
    vlan: int
    appliance_host: HostId | None
    appliance_state: str
    position: int = 0
    is_default: bool = True
    leaving: bool = False
    standby_host: HostId | None = None
    ipv6_cidr: str | None = None

    @property
    def routers(self) -> list[HostId]:
        """Where its network's appliances are: one, or the two of a pair. One that is leaving is told nothing more: what
        it knew was taken back, and nobody would do so again.
        """
        here = None if self.appliance_state == ApplianceState.LEAVING else self.appliance_host
        return [host for host in (here, self.standby_host) if host]


class VolumeRow(NamedTuple):
    """A volume, and the host of its pool. `address` is where leases are asked for, if its pool is shared."""

    id: VolumeId
    machine: MachineId | None
    pool: PoolId | None
    host: HostId | None
    mib: int
    iops: int
    bytes_per_second: int
    source: str | None
    erasing: bool
    shared: bool = False
    address: str | None = None
    position: int = 0
    change: str = ""
    stays: bool = False
    storage_zone: StorageZoneId | None = None
    zoned: int = 0
    view_of: VolumeId | None = None
    made: int = 0
    replicated: bool = False
    read_only: bool = False


class Fresh(NamedTuple):
    """A machine that is about to be kept, with all that a host has to be told of it."""

    farm: FarmId
    machine: MachineRow
    boot: BootRow
    nics: list[NicRow]
    volumes: list[VolumeRow]


# Word for word as the index has it: of the column alone SQLAlchemy makes `attention = 1` for SQLite, which would then
# look through every machine.
_WANTS = text("machine.attention")
_MACHINE = raw(schema.machine, MachineRow._fields)
_machines = Lookup(lambda among: _MACHINE.where(among(_m.id)).order_by(_m.id).with_for_update())
_wanting = Lookup(
    lambda among: (
        _MACHINE.where(_WANTS, among(_m.farm))
        .order_by(_m.id)
        .limit(bindparam("limit"))
        .with_for_update()
    )
)
_boots = Lookup(
    lambda among: raw(schema.machine_boot, BootRow._fields).where(
        among(schema.machine_boot.c.machine)
    )
)


def machines(tx: Tx, limit: int, farms: Iterable[FarmId] | None = None) -> list[MachineRow]:
    """Machines that want attention, of these farms or of all, oldest first, locked."""
    if farms is not None:
        return _rows(MachineRow, _wanting.rows(tx, farms, limit=limit))
    query = _MACHINE.where(_WANTS).order_by(_m.id).limit(limit).with_for_update()
    return _rows(MachineRow, tx.execute(query).all())


def machines_by_id(tx: Tx, ids: Iterable[str]) -> dict[MachineId, MachineRow]:
    """These machines, those that exist, locked."""
    return {row.id: row for row in _rows(MachineRow, _machines.rows(tx, ids))}


def older(tx: Tx, of: Iterable[MachineId], since: datetime) -> frozenset[MachineId]:
    """Those of these machines that were made before."""
    query = select(_m.id).where(among(tx, _m.id, of), _m.created_at < since)
    return frozenset(tx.execute(query).scalars())


def boots(tx: Tx, of: Iterable[MachineId]) -> dict[MachineId, BootRow]:
    """What each of these machines starts from."""
    return {row.machine: row for row in _rows(BootRow, _boots.rows(tx, of))}


def _nics_among(among: Among) -> Select[Any]:
    nic, network = schema.nic.c, schema.network.c
    return (
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
            nic.position,
            nic.is_default,
            nic.leaving,
            case((network.standby_state != ApplianceState.LEAVING, network.standby_host)),
            network.ipv6_cidr,
            nic.account,
        )
        .join(schema.network, network.id == nic.network)
        .where(among(nic.machine))
        .order_by(nic.machine, nic.position)
    )


_nics = Lookup(_nics_among)


def nics(tx: Tx, of: Iterable[MachineId]) -> dict[MachineId, list[NicRow]]:
    """The NICs of these machines, in order of position, as fast as all limits together let them be."""
    rows = _nics.rows(tx, of)
    rates = Rates.of(tx, {row[-1] for row in rows})
    found = []
    for *nic, account in rows:
        row = NicRow._make(nic)
        kbps = rates.rate(account, row.rate_kbps).kbps
        found.append(row if kbps == row.rate_kbps else row._replace(rate_kbps=kbps))
    return _grouped(found)


def select_volumes() -> Select[Any]:
    """`VolumeRow`s of volumes and, if they are on one, their pool."""
    volume, pool = schema.volume.c, schema.pool.c
    return select(
        volume.id,
        volume.machine,
        volume.pool,
        pool.host,
        volume.mib,
        volume.iops,
        volume.bytes_per_second,
        type_coerce(volume.source, Text),
        volume.erasing,
        volume.shared,
        pool.address,
        volume.position,
        volume.change,
        volume.stays,
        volume.storage_zone,
        volume.zoned,
        volume.view_of,
        volume.made,
        volume.replicated,
        volume.read_only,
    ).select_from(schema.volume.outerjoin(schema.pool, pool.id == volume.pool))


def _volumes_among(among: Among) -> Select[Any]:
    volume = schema.volume.c
    return select_volumes().where(among(volume.machine)).order_by(volume.machine, volume.position)


_volumes = Lookup(_volumes_among)


def volumes(tx: Tx, of: Iterable[MachineId]) -> dict[MachineId, list[VolumeRow]]:
    """The volumes of these machines, in order of position."""
    return _grouped(_rows(VolumeRow, _volumes.rows(tx, of)))


_pools = Lookup(
    lambda among: select(schema.host.c.id, schema.host.c.pool).where(
        among(schema.host.c.id), schema.host.c.pool.is_not(None)
    )
)


def local_pools(tx: Tx, hosts: Iterable[HostId]) -> dict[HostId, PoolId]:
    """Each host's local pool."""
    return dict(_pools.rows(tx, hosts))


_MACHINE_COLUMNS = frozenset(_m.keys())


def change_machines(tx: Tx, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Set `columns` of machines, each row a dict of them and `id`; JSON columns as text.

    For controllers only, inside the transaction that read the machines; `generation` is the caller's to raise. Whoever
    sets the state says when (`changed_at`), as what runs is paid for.
    """
    if not rows:
        return
    unknown = set(columns) - _MACHINE_COLUMNS
    if unknown:
        raise ValueError(f"no such columns: {sorted(unknown)}")
    if "state" in columns and "changed_at" not in columns:
        raise ValueError("a state is of a moment: set changed_at, too")
    values = itemgetter(*columns, "id")
    change_rows(tx, schema.machine, tuple(columns), [values(row) for row in rows])
    if "state" in columns:
        machine_news.changed(tx, [(row["id"], row["state"], row["changed_at"]) for row in rows])


_ARRIVED = ("state", "ran", "tries", "operation", "why", "generation", "changed_at")


def running_already(tx: Tx, ids: Iterable[MachineId]) -> frozenset[MachineId]:
    """Those of these machines that are known to run, and of which nobody waits for anything. Not locked."""
    return frozenset(row[0] for row in _already.rows(tx, ids))


_already = Lookup(
    lambda among: select(_m.id).where(
        among(_m.id),
        _m.state == "running",
        _m.operation.is_(None),
        ~type_coerce(_m.why, Text).contains('"stalled"'),
        ~exists(select(schema.volume.c.id).where(_PENDING, schema.volume.c.machine == _m.id)),
    )
)


def note_running(tx: Tx, rows: Sequence[tuple[Any, ...]]) -> None:
    """What becomes of most machines, by a statement that touches no column of an index: its columns, then the id."""
    change_rows(tx, schema.machine, _ARRIVED, rows)
    machine_news.changed(tx, [(row[-1], row[0], row[6]) for row in rows])


def adopt_volumes(tx: Tx, pairs: Sequence[tuple[PoolId, VolumeRow]]) -> None:
    """These volumes are on these pools from now on."""
    if pairs:
        rows = [(pool, volume.id) for pool, volume in pairs]
        change_rows(tx, schema.volume, ("pool",), rows)


def mark_erasing(tx: Tx, ids: Sequence[VolumeId]) -> None:
    """These volumes' hosts were told to erase them."""
    volume = schema.volume
    tx.execute(update(volume).where(among(tx, volume.c.id, ids)).values(erasing=True))


def wake_machines(tx: Tx, networks: Iterable[NetworkId]) -> None:
    """Machines that waited for the appliance of one of these networks should be looked at again."""
    nic = schema.nic.c
    waiting = select(nic.machine).where(among(tx, nic.network, networks))
    tx.execute(
        update(schema.machine)
        .where(_m.id.in_(waiting), _m.state == "waiting")
        .values(attention=True)
    )


def destroyed_before(
    tx: Tx, at: datetime, limit: int, farms: Iterable[FarmId] | None = None
) -> list[MachineId]:
    """Machines, of these farms or of all, whose time to be recovered is over."""
    query = (
        select(_m.id)
        .where(_m.destroyed_at.is_not(None), _m.destroyed_at < at, _m.state == "destroyed")
        .order_by(_m.destroyed_at)
        .limit(limit)
    )
    if farms is not None:
        query = query.where(among(tx, _m.farm, farms))
    return list(tx.scalars(query))


def remove_machines(tx: Tx, ids: Sequence[MachineId], at: datetime) -> None:
    """Their rows, NICs, rules to them and volumes; the caller has given back what they held."""
    nic, volume, member, rule = schema.nic, schema.volume, schema.group_member, schema.rule
    mine = select(nic.c.id).where(among(tx, nic.c.machine, ids))
    led = select(rule.c.network).where(rule.c.nic.in_(mine))
    network = (
        schema.network
    )  # whose appliance would lead what came to them to whom gets their addresses next
    if tx.execute(update(network).where(network.c.id.in_(led)).values(attention=True)).rowcount:
        nudge(tx, "networks")
    tx.execute(rule.delete().where(rule.c.nic.in_(mine)))
    if balancers.leave(tx, ids):
        nudge(tx, "networks")
    tx.execute(nic.delete().where(among(tx, nic.c.machine, ids)))
    disks = list(tx.scalars(select(volume.c.id).where(among(tx, volume.c.machine, ids))))
    machine_news.gone(tx, ids, disks, at)
    tx.execute(volume.delete().where(among(tx, volume.c.machine, ids)))
    tx.execute(member.delete().where(among(tx, member.c.machine, ids)))
    tx.execute(schema.export.delete().where(among(tx, schema.export.c.machine, ids)))
    move = schema.move  # one that is not over has yet to end what waits for it
    tx.execute(move.delete().where(among(tx, move.c.id, ids), move.c.stage == "over"))
    usage = schema.machine_usage
    tx.execute(usage.delete().where(among(tx, usage.c.machine, ids)))
    boot = schema.machine_boot
    tx.execute(boot.delete().where(among(tx, boot.c.machine, ids)))
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
