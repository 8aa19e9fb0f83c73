"""Shared volumes of farms' homes that parts here read; and image versions of such volumes that nobody needs any more."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import delete, exists, insert, or_, select, update

from arable.domain.ids import FarmId, ImageId
from arable.domain.image import Image, ImageVersion
from arable.domain.volume_copies import CameVolume
from arable.store import images, kept
from arable.store import schema as t
from arable.store.database import Tx

_c, _s, _i, _v = t.came_volume.c, t.sent_volume.c, t.image.c, t.image_version.c


def of_farm(tx: Tx, farm: FarmId) -> dict[str, CameVolume]:
    """Those that a part reads, by name."""
    rows = tx.execute(select(t.came_volume).where(_c.farm == farm).order_by(_c.name))
    return {row.name: kept.value(CameVolume, row) for row in rows}


def put(tx: Tx, came: CameVolume) -> None:
    """Keep it as it is now."""
    here = (_c.farm == came.farm, _c.name == came.name)
    if tx.execute(update(t.came_volume).where(*here).values(**asdict(came))).rowcount != 1:
        tx.execute(insert(t.came_volume).values(**asdict(came)))


def drop(tx: Tx, farm: FarmId, names: Sequence[str] | None = None) -> None:
    """The part reads these no more; without names: it reads none."""
    here = [_c.farm == farm]
    if names is not None:
        here.append(_c.name.in_(names))
    tx.execute(delete(t.came_volume).where(*here))


def left(tx: Tx, limit: int) -> list[tuple[ImageId, int]]:
    """Versions of what is on shared volumes that no part reads, or is to read; also such as something lies over still."""
    came = exists().where(_c.image == _v.image, or_(_c.number == _v.number, _c.before == _v.number))
    sent = exists().where(
        _s.image == _v.image, or_(_s.number == _v.number, _s.operation.is_not(None))
    )
    query = select(_v.image, _v.number).join(t.image, _i.id == _v.image)
    query = query.where(_i.home != "", ~came, ~sent).order_by(_v.image, _v.number).limit(limit)
    return [(ImageId(image), number) for image, number in tx.execute(query)]


def empty(tx: Tx, limit: int) -> list[ImageId]:
    """Images of that kind without a version, which nobody is to have."""
    query = select(_i.id).where(
        *(_i.home != "", _i.operation.is_(None), ~exists().where(_v.image == _i.id)),
        *(~exists().where(_c.image == _i.id), ~exists().where(_s.image == _i.id)),
    )
    return [ImageId(id_) for id_ in tx.scalars(query.order_by(_i.id).limit(limit))]


def remove(tx: Tx, image: Image, version: ImageVersion) -> bool:
    """Remove a version that is left, unless elements still lie over it; whether that was done."""
    if images.used_by(tx, version):
        return False
    here = (t.transfer.c.image == image.id, t.transfer.c.number == version.number)
    tx.execute(delete(t.transfer).where(*here))
    images.remove_version(tx, version)
    return True
