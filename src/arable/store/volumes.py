"""How volumes are kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import update

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.ids import AccountId, MachineId, PoolId, VolumeId, ZoneId
from arable.domain.manifest import ImagePart
from arable.domain.volume import Volume
from arable.store import schema as t
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, raw
from arable.store.scope import visible

_COLUMNS = (
    *("id", "account", "zone", "machine", "pool", "position", "name", "mib", "iops"),
    *("bytes_per_second", "source", "shared", "erasing", "generation", "created_at"),
)
_SELECT = raw(t.volume, _COLUMNS)
_part = msgspec.json.Decoder(ImagePart).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFilter:
    """Which volumes of a list."""

    account: AccountId | None = None
    zone: ZoneId | None = None
    machine: MachineId | None = None


def get(tx: Tx, scope: Scope, id_: VolumeId) -> Volume:
    """The volume, if it is there and in sight."""
    query = _SELECT.where(t.volume.c.id == id_, *visible(t.volume.c.account, scope))
    row = tx.execute(query).first()
    if row is None:
        raise NotFound("there is no such volume")
    return _volume(row)


def page(
    tx: Tx, scope: Scope, where: VolumeFilter, *, after: str | None = None, limit: int = 100
) -> list[Volume]:
    """By key."""
    c = t.volume.c
    conditions = visible(c.account, scope)
    for column, value in ((c.account, where.account), (c.zone, where.zone)):
        if value:
            conditions.append(column == value)
    if where.machine:
        conditions.append(c.machine == where.machine)
    if after:
        conditions.append(c.id > after)
    query = _SELECT.where(*conditions).order_by(c.id).limit(limit)
    return [_volume(row) for row in tx.execute(query)]


def of_machines(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, list[Volume]]:
    """Each machine's volumes in order of position."""
    c = t.volume.c
    query = _SELECT.where(among(tx, c.machine, machines)).order_by(c.machine, c.position)
    found: dict[MachineId, list[Volume]] = {}
    for row in tx.execute(query):
        volume = _volume(row)
        if volume.machine is not None:
            found.setdefault(volume.machine, []).append(volume)
    return found


def set_root_limits(tx: Tx, machine: MachineId, iops: int, bytes_per_second: int) -> None:
    """How fast a machine's root disk is."""
    c = t.volume.c
    tx.execute(
        update(t.volume)
        .where(c.machine == machine, c.position == 0)
        .values(iops=iops, bytes_per_second=bytes_per_second, generation=c.generation + 1)
    )


class NewVolume(NamedTuple):
    """A volume as its row begins; its source is JSON text."""

    id: VolumeId
    account: AccountId
    zone: ZoneId
    machine: MachineId
    pool: PoolId | None
    position: int
    name: str
    mib: int
    iops: int
    bytes_per_second: int
    source: str | None
    created_at: int
    shared: bool = False


def add_many(tx: Tx, volumes: Sequence[NewVolume]) -> None:
    """Keep new volumes."""
    insert_rows(tx, t.volume, NewVolume._fields, volumes)


def _volume(row: Any) -> Volume:
    (id_, account, zone, machine, pool, position, name, mib, iops) = row[:9]
    (bytes_per_second, source, shared, erasing, generation, created_at) = row[9:]
    return Volume(
        id=id_,
        account=account,
        zone=zone,
        machine=machine,
        pool=pool,
        position=position,
        name=name,
        mib=mib,
        iops=iops,
        bytes_per_second=bytes_per_second,
        source=None if source is None else _part(source),
        shared=shared,
        erasing=erasing,
        generation=generation,
        created_at=moment(created_at),
    )
