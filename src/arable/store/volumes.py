"""How volumes are kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import delete, func, insert, select, update

from arable.domain.access import Scope
from arable.domain.errors import NotFound, Stale
from arable.domain.ids import (
    AccountId,
    FarmId,
    MachineId,
    PoolId,
    StorageZoneId,
    VolumeId,
    ZoneId,
)
from arable.domain.manifest import ImagePart
from arable.domain.usage import ROOT, UsageKind
from arable.domain.volume import Change, Volume
from arable.store import schema as t
from arable.store import usage_records
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, raw
from arable.store.scope import visible

_COLUMNS = (
    *("id", "account", "zone", "machine", "pool", "position", "name", "mib", "iops"),
    *("bytes_per_second", "source", "shared", "stays", "tags", "change", "operation", "told"),
    *(
        "erasing",
        "copied_from",
        "offering",
        "storage_zone",
        "zoned",
        "read_only",
        "view_of",
        "replicated",
        "replica",
        "generation",
        "created_at",
    ),
)
_SELECT = raw(t.volume, _COLUMNS)
_part = msgspec.json.Decoder(ImagePart).decode
_tags = msgspec.json.Decoder(tuple[str, ...]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFilter:
    """Which volumes of a list."""

    account: AccountId | None = None
    zone: ZoneId | None = None
    machine: MachineId | None = None
    name: str | None = None
    storage_zone: StorageZoneId | None = None
    view_of: VolumeId | None = None


def get(tx: Tx, scope: Scope, id_: VolumeId, *, lock: bool = False) -> Volume:
    """The volume, if it is there and in sight."""
    query = _SELECT.where(t.volume.c.id == id_, *visible(t.volume.c.account, scope))
    row = tx.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound("there is no such volume")
    return _volume(row)


def some(tx: Tx, ids: Iterable[VolumeId]) -> dict[VolumeId, Volume]:
    """Those of these that exist, whosever they are."""
    rows = tx.execute(_SELECT.where(among(tx, t.volume.c.id, ids)))
    return {volume.id: volume for volume in map(_volume, rows)}


def page(
    tx: Tx, scope: Scope, where: VolumeFilter, *, after: str | None = None, limit: int = 100
) -> list[Volume]:
    """By key."""
    c = t.volume.c
    conditions = visible(c.account, scope)
    wanted = ((c.account, where.account), (c.zone, where.zone), (c.name, where.name))
    more = ((c.storage_zone, where.storage_zone), (c.view_of, where.view_of))
    for column, value in (*wanted, *more):
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


def views(tx: Tx, of: VolumeId) -> int:
    """How many machines have it read-only, those among them whose hosts have yet to forget it."""
    c = t.volume.c
    return int(tx.execute(select(func.count()).where(c.view_of == of)).scalar_one())


def named(tx: Tx, account: AccountId, zone: ZoneId, name: str) -> Volume | None:
    """The account's volume of that name among those that stand by themselves."""
    c = t.volume.c
    query = _SELECT.where(
        c.account == account, c.zone == zone, c.name == name, c.stays, c.erasing.is_(False)
    )
    row = tx.execute(query).first()
    return None if row is None else _volume(row)


def add(tx: Tx, volume: Volume) -> None:
    """Keep a new volume that stands by itself."""
    tx.execute(insert(t.volume).values(id=volume.id, **_values(volume)))
    usage_records.begin(tx, UsageKind.VOLUME, [volume.id], volume.created_at)


def save(tx: Tx, volume: Volume) -> None:
    """Keep a later generation of a volume that was read with `lock`; raises `Stale` when it is not the next.

    One that is larger, or of another offering, is saved by `resave`.
    """
    c = t.volume.c
    done = tx.execute(
        update(t.volume)
        .where(c.id == volume.id, c.generation == volume.generation - 1)
        .values(**_values(volume))
    )
    if done.rowcount != 1:
        raise Stale("the volume was changed meanwhile; read it again and decide anew")


def resave(tx: Tx, volume: Volume, at: datetime) -> None:
    """`save` of one that is another one from now on to whoever pays for it."""
    save(tx, volume)
    usage_records.renew(tx, UsageKind.VOLUME, [volume.id], at)


def remove(tx: Tx, ids: Sequence[VolumeId], at: datetime) -> None:
    """Their rows; the caller has given back what they held."""
    usage_records.end(tx, UsageKind.VOLUME, ids, at)
    tx.execute(delete(t.volume).where(among(tx, t.volume.c.id, ids)))


def set_root_limits(
    tx: Tx, machine: MachineId, iops: int, bytes_per_second: int, *, replicated: bool
) -> None:
    """How fast a machine's root disk is, and whether it is to have a replica."""
    c = t.volume.c
    tx.execute(
        update(t.volume)
        .where(c.machine == machine, c.position == 0)
        .values(
            iops=iops,
            bytes_per_second=bytes_per_second,
            replicated=replicated,
            generation=c.generation + 1,
        )
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
    tags: str = "[]"
    offering: str = ""
    storage_zone: StorageZoneId | None = None
    zoned: int = 0
    replicated: bool = False


def add_many(tx: Tx, volumes: Sequence[NewVolume], farm_of: Mapping[MachineId, FarmId]) -> None:
    """Keep new volumes, of new machines of these farms."""
    insert_rows(tx, t.volume, NewVolume._fields, volumes)
    if volumes:
        made = [
            usage_records.Made(
                v.account,
                v.id,
                v.name,
                v.offering or ("" if v.position else ROOT),
                farm_of[v.machine],
                0,
                v.mib,
            )
            for v in volumes
        ]
        usage_records.begin_made(tx, UsageKind.VOLUME, made, volumes[0].created_at)


def _values(volume: Volume) -> dict[str, Any]:
    names = (name for name in _COLUMNS if name != "id")
    return {
        **{name: getattr(volume, name) for name in names},
        "source": None if volume.source is None else msgspec.to_builtins(volume.source),
        "tags": list(volume.tags),
    }


def _volume(row: Any) -> Volume:
    kept = dict(zip(_COLUMNS, row, strict=True))
    kept["source"] = None if kept["source"] is None else _part(kept["source"])
    kept["tags"] = _tags(kept["tags"])
    kept["change"] = Change(kept["change"])
    kept["created_at"] = moment(kept["created_at"])
    return Volume(**kept)
