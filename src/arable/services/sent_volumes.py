"""Shared volumes that go with a farm's parts in other regions: which they are, and what is on them by now (0052).

What a part's wish says of one is its digest; the bytes go as those of images do. A copy is made of each once for all parts
(`services/volume_copies.py`). Nothing here knows other use cases, so that those can call it.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import msgspec
from msgspec import structs

from arable.domain.access import Scope
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.farm import Farm
from arable.domain.farm_part import FarmPart
from arable.domain.volume import Volume
from arable.domain.volume_copies import SentVolume
from arable.store import farm_regions, farms, images, sent_volumes, volumes
from arable.store.database import Tx
from arable.wire.farms import FarmPartSpec, FarmVolumeIn

_SHARE = "`arable volume update --share read-only`"


def with_volumes(tx: Tx, farm: Farm, spec: FarmPartSpec, at: datetime) -> FarmPartSpec:
    """The same with the volumes that its blueprints read; one that home does not have, or does not share, is waited for."""
    names = sorted({name for each in spec.blueprints for name in each.says.reads})
    return structs.replace(spec, volumes=tuple(_wanted(tx, farm, name, at) for name in names))


def check(tx: Tx, farm: Farm, names: Iterable[str], field: str) -> None:
    """Raises what keeps one of these from going to another region, naming the field."""
    for name in names:
        found = volumes.named(tx, farm.account, farm.zone, name)
        if found is None:
            told = f"its blueprint reads the volume {name}, and there is none in the farm's zone: make it, and share it ({_SHARE})"
            raise NotFound(told, field=field)
        if not found.read_only:
            told = (
                f"its blueprint reads the volume {name}, which is not shared read-only ({_SHARE})"
            )
            raise Conflict(told, field=field)
        if found.storage_zone not in (None, farm.reaches):
            told = f"its blueprint reads the volume {name}, which is in another storage zone than the farm (`arable volume update --storage-zone`)"
            raise BadInput(told, field=field)


def shared(tx: Tx, volume: Volume, at: datetime) -> None:
    """It is shared anew, so something else may be on it. Whoever calls holds it."""
    row = sent_volumes.get(tx, volume.id, lock=True)
    if row is not None:
        sent_volumes.put(tx, replace(row, shares=row.shares + 1, tries=0, due_at=at))
    elif farm_regions.waits_for(tx, volume.account, volume.name):
        sent_volumes.put(tx, SentVolume(volume=volume.id, account=volume.account, due_at=at))


def check_unneeded(tx: Tx, volume: Volume) -> None:
    """Raises `Conflict` for a volume that tiers in other regions read. Whoever calls holds it."""
    row = sent_volumes.get(tx, volume.id, lock=True)
    if row is None:
        return
    parts = farm_regions.reading(tx, volume.account, volume.id)
    names = farms.names(tx, {each.farm for each in parts})
    where = ", ".join(f"{names[each.farm]} in {each.region}" for each in parts[:5])
    raise Conflict(
        f"tiers in other regions read {volume.name}: {where}; change their farms first"
        if parts
        else f"what other regions read of {volume.name} is just being let go; ask again"
    )


def as_it_is(tx: Tx, row: SentVolume, name: str) -> FarmVolumeIn:
    """What is said of it, under that name."""
    disk = None
    if row.made and row.image:
        disk = images.version(tx, row.image, row.number).disk
    if disk is None:
        told = row.told or f"{name} is being copied at home"
        return FarmVolumeIn(id=row.volume, name=name, told=told[:1024])
    return FarmVolumeIn(
        id=row.volume,
        name=name,
        sha256=disk.sha256,
        bytes=disk.bytes,
        virtual_bytes=disk.virtual_bytes,
    )


def readers(tx: Tx, row: SentVolume, volume: Volume | None) -> list[FarmPart]:
    """Parts, locked, that read it, or wait for one of its name."""
    words = [row.volume, *([volume.name] if volume else ())]
    found = farm_regions.reading(tx, row.account, *words)
    of = {farm.id: farm for farm in farms.by_account(tx, {each.farm for each in found})}
    return [
        part
        for part in found
        if any(
            each.id == row.volume or (volume is not None and _means(each, volume, of[part.farm]))
            for each in msgspec.convert(part.spec, FarmPartSpec).volumes
        )
    ]


def again(spec: FarmPartSpec, said: FarmVolumeIn) -> FarmPartSpec:
    """The same, with what is known of that volume by now."""
    return structs.replace(
        spec,
        volumes=tuple(
            structs.replace(said, name=each.name)
            if each.id == said.id or (each.id is None and each.name == said.name)
            else each
            for each in spec.volumes
        ),
    )


def _means(said: FarmVolumeIn, volume: Volume, farm: Farm) -> bool:
    return (
        (said.id, said.name, farm.zone) == (None, volume.name, volume.zone)
        and volume.storage_zone in (None, farm.reaches)
    )  # fmt: skip


def _wanted(tx: Tx, farm: Farm, name: str, at: datetime) -> FarmVolumeIn:
    found = volumes.named(tx, farm.account, farm.zone, name)
    if found is None or found.storage_zone not in (None, farm.reaches):
        return FarmVolumeIn(name=name, told=f"home has no volume {name} that the farm may read")
    found = volumes.get(tx, Scope(account=farm.account), found.id, lock=True)
    row = sent_volumes.get(tx, found.id, lock=True)
    if row is None:
        row = SentVolume(volume=found.id, account=farm.account, due_at=at)
        sent_volumes.put(tx, row)
    return as_it_is(tx, row, name)
