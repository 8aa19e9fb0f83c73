"""How images, their versions and the parts that accounts brought are kept. The bytes are in `ImageFiles`.

A caller sees images in scope, and public ones whoever has them.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from arable.domain.access import Scope
from arable.domain.errors import Conflict, NotFound
from arable.domain.ids import AccountId, ImageId
from arable.domain.image import Image, ImageVersion, KeptPart
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge
from arable.store.rows import stamp
from arable.store.scope import visible

WHAT = "image"
TOPIC = "images"
"""Nudged when there is another version, or one less, or one is shown to others."""
_ADD_PART = text("""
    insert into image_part (account, sha256, role, format, bytes, virtual_bytes, created_at)
    values (:account, :sha256, :role, :format, :bytes, :virtual_bytes, :created_at)
    on conflict (account, sha256) do update set
        role = excluded.role, format = excluded.format, virtual_bytes = excluded.virtual_bytes,
        created_at = excluded.created_at
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFilter:
    """Which images of a list."""

    name: str | None = None
    account: AccountId | None = None
    public: bool | None = None


def add(tx: Tx, image: Image) -> None:
    """A new image; its name must be free in its account."""
    check_name(tx, image.account, image.name)
    kept.add(tx, t.image, image)


def check_name(tx: Tx, account: AccountId, name: str) -> None:
    """Raises `Conflict` when the account has an image of that name."""
    row = t.image.c
    if tx.execute(select(row.id).where(row.account == account, row.name == name)).first():
        raise Conflict(f"the account has an image named {name} already", field="name")


def get(tx: Tx, scope: Scope, image: ImageId) -> Image:
    """An image to use: in scope, or public. Raises `NotFound`."""
    return kept.get(tx, t.image, Image, WHAT, t.image.c.id == image, *_usable(scope))


def own(tx: Tx, scope: Scope, image: ImageId, *, lock: bool = False) -> Image:
    """An image to change: in scope. Raises `NotFound`."""
    row = t.image.c
    return kept.get(
        tx, t.image, Image, WHAT, row.id == image, *visible(row.account, scope), lock=lock
    )


def by_name(tx: Tx, scope: Scope, name: str) -> Image:
    """An image to use, by its name: one in scope before a public one, then the oldest. Raises `NotFound`."""
    row = t.image.c
    ours = [*visible(row.account, scope)]
    query = select(t.image).where(row.name == name).order_by(row.id).limit(1)
    for conditions in (ours, [row.public]):
        found = tx.execute(query.where(*conditions)).first()
        if found is not None:
            return kept.value(Image, found)
    raise NotFound(f"there is no such {WHAT}")


def named_of(tx: Tx, image: ImageId) -> Image:
    """The image, whoever's it is: for the system itself. Raises `NotFound`."""
    return kept.get(tx, t.image, Image, WHAT, t.image.c.id == image)


def named(tx: Tx, account: AccountId, name: str) -> Image | None:
    """The account's own image of that name."""
    row = t.image.c
    found = tx.execute(select(t.image).where(row.account == account, row.name == name)).first()
    return None if found is None else kept.value(Image, found)


def named_by(tx: Tx, accounts: Iterable[AccountId], name: str) -> dict[AccountId, Image]:
    """The same for many accounts, by two statements; those that find none are not in the answer."""
    accounts = set(accounts)
    row = t.image.c
    query = select(t.image).where(row.name == name).order_by(row.id)
    found: dict[AccountId, Image] = {}
    public = tx.execute(query.where(row.public).limit(1)).first()
    if public is not None:
        found = dict.fromkeys(accounts, kept.value(Image, public))
    own = tx.execute(query.where(among(tx, row.account, accounts))).all()
    found.update({each.account: kept.value(Image, each) for each in reversed(own)})
    return found


def page(
    tx: Tx, scope: Scope, where: ImageFilter, *, after: str | None = None, limit: int = 100
) -> list[Image]:
    """Images to use, by age."""
    row = t.image.c
    conditions = _usable(scope)
    for column, wanted in (
        (row.name, where.name),
        (row.account, where.account),
        (row.public, where.public),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    return kept.page(tx, t.image, Image, conditions, after=after, limit=limit)


def save(tx: Tx, image: Image) -> None:
    """The next generation."""
    kept.save(tx, t.image, image, WHAT)
    nudge(tx, TOPIC)


def remove(tx: Tx, image: Image) -> None:
    """Remove an image (locked by the caller) that has no versions any more."""
    if tx.execute(select(exists().where(t.image_version.c.image == image.id))).scalar():
        raise Conflict("the image has versions; delete them first")
    kept.forget(tx, t.image, image, WHAT)


def add_version(tx: Tx, version: ImageVersion) -> None:
    """A new version. Its number is the image's next `newest`, which the caller saves with the image."""
    row = asdict(version)
    row["parts"] = [asdict(part) for part in version.parts]
    tx.execute(insert(t.image_version).values(**row))
    for sha256 in {part.sha256 for part in version.parts}:
        named = {"sha256": sha256, "image": version.image, "number": version.number}
        tx.execute(insert(t.image_version_part).values(**named))
    nudge(tx, TOPIC)


def pin(tx: Tx, image: ImageId, number: int, *, pinned: bool) -> None:
    """Whether that version may not be let go."""
    row = t.image_version.c
    here = (row.image == image, row.number == number)
    tx.execute(update(t.image_version).where(*here).values(pinned=pinned))


def version(tx: Tx, image: ImageId, number: int | None = None) -> ImageVersion:
    """That version of an image that the caller may use, or its latest that is here. Raises `NotFound`."""
    row = t.image_version.c
    query = select(t.image_version).where(row.image == image)
    if number is not None:
        query = query.where(row.number == number)
    found = tx.execute(query.order_by(row.arriving, row.number.desc()).limit(1)).first()
    if found is None:
        raise NotFound(
            "the image has no such version" if number else "the image has no version yet"
        )
    return kept.value(ImageVersion, found)


def versions(tx: Tx, images: Iterable[ImageId]) -> dict[ImageId, list[ImageVersion]]:
    """All versions of these images, latest first."""
    row = t.image_version.c
    query = (
        select(t.image_version)
        .where(among(tx, row.image, images))
        .order_by(row.image, row.number.desc())
    )
    made: dict[ImageId, list[ImageVersion]] = {}
    for found in tx.execute(query):
        made.setdefault(found.image, []).append(kept.value(ImageVersion, found))
    return made


def remove_version(tx: Tx, old: ImageVersion) -> None:
    """Remove a version that no machine was made of, no volume lies over, and no tier may need."""
    told = used_by(tx, old)
    if told:
        raise Conflict(told)
    row = t.image_version.c
    gone = t.image_version_part.c
    tx.execute(
        delete(t.image_version_part).where(gone.image == old.image, gone.number == old.number)
    )
    tx.execute(delete(t.image_version).where(row.image == old.image, row.number == old.number))
    nudge(tx, TOPIC)


def used_by(tx: Tx, old: ImageVersion) -> str:
    """What needs that version; empty: nothing."""
    machine, volume = t.machine.c, t.volume.c
    of_it = exists().where(machine.image == old.image, machine.image_version == old.number)
    if tx.execute(select(of_it)).scalar():
        return "machines were made of this version"
    if (
        old.disk is not None
        and tx.execute(select(exists().where(volume.source.contains(old.disk.sha256)))).scalar()
    ):
        return "volumes lie over this version's disk"
    if old.number in _of_tiers(tx, old.image):
        return "tiers of farms are made of this version, or may go back to it"
    return ""


def _of_tiers(tx: Tx, image: ImageId) -> set[int]:
    """Versions of which tiers' elements should be made, and those to which rollouts may go back."""
    tier, rollout = t.tier.c, t.rollout.c
    wanted = tx.scalars(select(tier.image_version).where(tier.image == image))
    before = (
        select(rollout.before)
        .join(t.tier, tier.id == rollout.tier)
        .where(rollout.ended_at.is_(None), tier.image == image)
    )
    return {*wanted, *(release["image"] for release in tx.scalars(before))}


def keep_part(tx: Tx, kept_part: KeptPart) -> None:
    """The account brought this part; bringing it again is the same, with what it said last."""
    part = kept_part.part
    tx.execute(
        _ADD_PART,
        {
            "account": kept_part.account,
            "sha256": part.sha256,
            "role": part.role,
            "format": part.format,
            "bytes": part.bytes,
            "virtual_bytes": part.virtual_bytes,
            "created_at": stamp(kept_part.created_at),
        },
    )


def parts_of(tx: Tx, account: AccountId, digests: Iterable[str]) -> dict[str, ImagePart]:
    """Those of these parts that the account brought."""
    row = t.image_part.c
    query = select(t.image_part).where(row.account == account, among(tx, row.sha256, digests))
    return {found.sha256: _part(found) for found in tx.execute(query)}


def bytes_of(tx: Tx, account: AccountId, *, but: Iterable[str] = ()) -> int:
    """All parts that the account brought or is bringing (`image_uploads`), together, `but` these."""
    row, coming = t.image_part.c, t.image_upload.c
    but = list(but)
    brought = select(func.sum(row.bytes)).where(row.account == account, ~among(tx, row.sha256, but))
    here = exists().where(row.account == account, row.sha256 == coming.sha256)
    promised = select(func.sum(coming.bytes)).where(
        coming.account == account, ~coming.complete, ~among(tx, coming.sha256, but), ~here
    )
    return int(tx.execute(brought).scalar() or 0) + int(tx.execute(promised).scalar() or 0)


def lock_account(tx: Tx, account: AccountId) -> None:
    """Let one at a time add parts to the account, so that its limit holds."""
    tx.execute(select(t.account.c.id).where(t.account.c.id == account).with_for_update())


def unused_parts(tx: Tx, before: datetime) -> list[tuple[AccountId, str]]:
    """Parts brought before a time that no version of their account's images names."""
    row, part, image = t.image_part.c, t.image_version_part.c, t.image.c
    query = select(row.account, row.sha256).where(
        row.created_at < before,
        ~exists().where(
            part.sha256 == row.sha256, part.image == image.id, image.account == row.account
        ),
    )
    return [(AccountId(account), sha256) for account, sha256 in tx.execute(query)]


def known_parts(tx: Tx) -> frozenset[str]:
    """Digests of all parts that somebody brought, or that a version has or will have."""
    brought = tx.execute(select(t.image_part.c.sha256)).scalars()
    named = tx.execute(select(t.image_version_part.c.sha256)).scalars()
    return frozenset(brought) | frozenset(named)


def known_among(tx: Tx, digests: Iterable[str]) -> frozenset[str]:
    """Those of these parts that somebody brought, or that a version has or will have."""
    digests = list(digests)
    part, named = t.image_part.c.sha256, t.image_version_part.c.sha256
    brought = tx.execute(select(part).where(among(tx, part, digests))).scalars()
    of_versions = tx.execute(select(named).where(among(tx, named, digests))).scalars()
    return frozenset(brought) | frozenset(of_versions)


def named_after(tx: Tx, sha256: str) -> list[str]:
    """Names of images that have a version with that (well-formed) part."""
    i, p = t.image.c, t.image_version_part.c
    query = select(i.name).join(t.image_version_part, p.image == i.id).where(p.sha256 == sha256)
    return sorted(set(tx.execute(query).scalars()))


def shared_with(tx: Tx, sha256: str, region: str) -> bool:
    """Whether another region may have that (well-formed) part.

    It is of a version of a public image, or of one of an account that may be asked for from there.
    """
    i, v, a, p = t.image.c, t.image_version.c, t.account.c, t.image_version_part.c
    query = (
        select(i.public, a.enabled, a.federated)
        .select_from(t.image_version_part)
        .join(t.image_version, and_(v.image == p.image, v.number == p.number))
        .join(t.image, i.id == p.image)
        .join(t.account, a.id == i.account)
        .where(p.sha256 == sha256, ~v.arriving)
    )
    return any(
        public or (enabled and region in federated)
        for public, enabled, federated in tx.execute(query)
    )


def forget_part(tx: Tx, account: AccountId, sha256: str) -> None:
    """The account does not have this part any more."""
    row = t.image_part.c
    tx.execute(delete(t.image_part).where(row.account == account, row.sha256 == sha256))


def _usable(scope: Scope) -> list[ColumnElement[bool]]:
    ours = visible(t.image.c.account, scope)
    return [or_(t.image.c.public, *ours)] if ours else []


def _part(row: Row[Any]) -> ImagePart:
    return ImagePart(
        role=PartRole(row.role),
        sha256=row.sha256,
        bytes=row.bytes,
        format=PartFormat(row.format),
        virtual_bytes=row.virtual_bytes,
    )
