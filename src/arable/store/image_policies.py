"""In which regions images should be, as this region's owners said it, and as others' were told."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, delete, insert, select

from arable.domain.ids import AccountId, ImageId
from arable.domain.image_policy import ImagePolicy
from arable.domain.region import FactKind
from arable.domain.transfer import TransferState
from arable.store import accounts, grid_facts, grid_members, kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.grid_members import TOPIC
from arable.store.many import among
from arable.store.nudges import nudge

_p = t.image_policy.c


def of(tx: Tx, image: ImageId) -> ImagePolicy | None:
    """The image's own."""
    row = tx.execute(select(t.image_policy).where(_p.image == image)).first()
    return None if row is None else kept.value(ImagePolicy, row)


def put(tx: Tx, policy: ImagePolicy) -> None:
    """Instead of the one before. For whoever holds the image's row."""
    tx.execute(delete(t.image_policy).where(_p.image == policy.image))
    tx.execute(insert(t.image_policy).values(**asdict(policy)))
    nudge(tx, TOPIC)


def drop(tx: Tx, image: ImageId) -> bool:
    """Whether there was one."""
    gone = tx.execute(delete(t.image_policy).where(_p.image == image)).rowcount
    nudge(tx, TOPIC)
    return gone == 1


def told(tx: Tx) -> dict[str, list[dict[str, Any]]]:
    """By region, what it says of its images, this one's own among them."""
    facts = grid_facts.of_kinds(tx, [FactKind.POLICY])
    return {region: [fact.body for fact in found] for region, found in facts.items()}


class Here(NamedTuple):
    """A version in this region. `failed_at`: it was to be brought, and that was given up; when it was begun."""

    failed_at: datetime | None


def here(tx: Tx, names: Iterable[str]) -> dict[tuple[AccountId, str, int], Here]:
    """Versions of images of these names, by owner, name and number: those that are here or on their way."""
    i, v, x = t.image.c, t.image_version.c, t.transfer.c
    query = (
        select(i.account, i.name, v.number, x.state, x.moved_at)
        .join(t.image_version, v.image == i.id)
        .outerjoin(t.transfer, and_(x.image == v.image, x.number == v.number))
        .where(among(tx, i.name, names))
    )
    return {
        (AccountId(account), name, number): Here(
            moved_at if state == TransferState.FAILED.value else None
        )
        for account, name, number, state, moved_at in tx.execute(query)
    }


def owner(tx: Tx, path: str) -> AccountId:
    """Whose the images of that account are here: the account's of the same path, else the operators'."""
    found = accounts.by_path(tx, path)
    return accounts.eldest(tx) if found is None else found.id


def labels(tx: Tx, region: str) -> tuple[str, ...]:
    """Of a region, as the grid manager says."""
    found = grid_members.by_name(tx, region)
    return () if found is None else found.labels
