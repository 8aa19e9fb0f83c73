"""How uploads of images' files are kept that go on where they broke off. The bytes are in `PartialFiles`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select

from arable.domain.access import Scope
from arable.domain.ids import AccountId, ImageId, UploadId
from arable.domain.image_upload import ImageUpload
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.scope import visible

WHAT = "upload"
_u = t.image_upload.c


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadFilter:
    """Which uploads of a list."""

    image: ImageId | None = None
    sha256: str | None = None
    complete: bool | None = None


def add(tx: Tx, new: ImageUpload) -> None:
    """A new one."""
    kept.add(tx, t.image_upload, new)


def own(tx: Tx, scope: Scope, id_: UploadId, *, lock: bool = False) -> ImageUpload:
    """One in scope. Raises `NotFound`."""
    where = (_u.id == id_, *visible(_u.account, scope))
    return kept.get(tx, t.image_upload, ImageUpload, WHAT, *where, lock=lock)


def same(tx: Tx, new: ImageUpload) -> ImageUpload | None:
    """Of the account's uploads that are not complete the one of the same file for the same purpose."""
    query = select(t.image_upload).where(
        _u.account == new.account,
        _u.image.is_(None) if new.image is None else _u.image == new.image,
        _u.role == new.role,
        _u.format == new.format,
        _u.sha256 == new.sha256,
        _u.bytes == new.bytes,
        ~_u.complete,
    )
    found = tx.execute(query.order_by(_u.id).limit(1)).first()
    return None if found is None else kept.value(ImageUpload, found)


def page(
    tx: Tx, scope: Scope, where: UploadFilter, *, after: str | None = None, limit: int = 100
) -> list[ImageUpload]:
    """Those in scope, by age."""
    conditions = visible(_u.account, scope)
    for column, wanted in (
        (_u.image, where.image),
        (_u.sha256, where.sha256),
        (_u.complete, where.complete),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    return kept.page(tx, t.image_upload, ImageUpload, conditions, after=after, limit=limit)


def save(tx: Tx, upload: ImageUpload) -> None:
    """The next generation."""
    kept.save(tx, t.image_upload, upload, WHAT)


def remove(tx: Tx, upload: ImageUpload) -> None:
    """As it was seen."""
    kept.forget(tx, t.image_upload, upload, WHAT)


def count(tx: Tx, account: AccountId) -> int:
    """How many of the account are not complete."""
    query = select(func.count()).where(_u.account == account, ~_u.complete)
    return int(tx.execute(query).scalar() or 0)


def open_among(tx: Tx, ids: Iterable[str]) -> frozenset[str]:
    """Those of these that are there, and not complete."""
    query = select(_u.id).where(among(tx, _u.id, ids), ~_u.complete)
    return frozenset(tx.execute(query).scalars())


def abandoned(tx: Tx, before: datetime) -> list[UploadId]:
    """Those with which nobody went on since; complete ones among them."""
    return [
        UploadId(id_) for id_ in tx.execute(select(_u.id).where(_u.touched_at < before)).scalars()
    ]


def forget(tx: Tx, ids: Iterable[str], before: datetime) -> int:
    """Those of these with which nobody went on since; how many they were."""
    here = (among(tx, _u.id, ids), _u.touched_at < before)
    return tx.execute(delete(t.image_upload).where(*here)).rowcount
