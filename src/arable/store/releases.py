"""Who runs what: of each tier what its elements are made of, and the newest that there is of its image and blueprint."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select

from arable.domain.access import Scope
from arable.domain.element import ElementState
from arable.domain.ids import AccountId, BlueprintId, FarmId, ImageId, TierId
from arable.domain.tier import Release, Tier
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.scope import visible

_t, _e = t.tier.c, t.element.c
_image, _version = t.image.c, t.image_version.c
_blueprint = t.blueprint.c
_NEWEST_IMAGE = (
    select(func.max(_version.number))
    .where(_version.image == _t.image)
    .correlate(t.tier)
    .scalar_subquery()
)
_NEWEST_BLUEPRINT = _blueprint.newest  # is joined


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFilter:
    """Which tiers."""

    image: ImageId | None = None
    blueprint: BlueprintId | None = None
    farm: FarmId | None = None
    account: AccountId | None = None
    behind: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A tier, what its image and blueprint are called, and their newest versions. An image without any: 0."""

    tier: Tier
    blueprint_name: str
    image_name: str
    newest: Release


@dataclass(frozen=True, slots=True)
class Runs:
    """So many elements that are made of one release."""

    release: Release
    elements: int
    serving: int


def _behind() -> ColumnElement[bool]:
    """An element is of an older release than the newest, or is to be."""
    older = (
        select(_e.id)
        .where(
            _e.tier == _t.id,
            _e.state != ElementState.WAITING.value,
            or_(_e.image_version < _NEWEST_IMAGE, _e.blueprint_number < _NEWEST_BLUEPRINT),
        )
        .correlate(t.tier, t.blueprint)
    )
    wanted = or_(_t.image_version < _NEWEST_IMAGE, _t.blueprint_number < _NEWEST_BLUEPRINT)
    return or_(wanted, older.exists())


def page(
    tx: Tx, scope: Scope, where: ReleaseFilter, *, after: str | None = None, limit: int = 100
) -> list[Known]:
    """Tiers by age."""
    conditions = visible(_t.account, scope)
    for column, wanted in (
        (_t.image, where.image),
        (_t.blueprint, where.blueprint),
        (_t.farm, where.farm),
        (_t.account, where.account),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    if where.behind is not None:
        conditions.append(_behind() if where.behind else ~_behind())
    if after is not None:
        conditions.append(_t.id > after)
    query = (
        select(
            t.tier,
            _blueprint.name.label("blueprint_name"),
            func.coalesce(_image.name, "").label("image_name"),
            _NEWEST_BLUEPRINT.label("newest_blueprint"),
            func.coalesce(_NEWEST_IMAGE, 0).label("newest_image"),
        )
        .join(t.blueprint, _blueprint.id == _t.blueprint)
        .outerjoin(t.image, _image.id == _t.image)
        .where(*conditions)
        .order_by(_t.id)
        .limit(limit)
    )
    return [
        Known(
            tier=kept.value(Tier, row),
            blueprint_name=row.blueprint_name,
            image_name=row.image_name,
            newest=Release(row.newest_blueprint, row.newest_image),
        )
        for row in tx.execute(query)
    ]


def runs(tx: Tx, tiers: Iterable[TierId]) -> dict[TierId, list[Runs]]:
    """What elements of each of these tiers are made of, the newest first; those without a machine of nothing."""
    of = (_e.tier, _e.blueprint_number, _e.image_version, _e.state)
    query = (
        select(*of, func.count())
        .where(among(tx, _e.tier, tiers), _e.state != ElementState.WAITING.value)
        .group_by(*of)
    )
    counts: dict[TierId, dict[Release, tuple[int, int]]] = {}
    for tier, blueprint, image, state, count in tx.execute(query):
        mine = counts.setdefault(TierId(tier), {})
        there, serving = mine.get(Release(blueprint, image), (0, 0))
        serves = count if state == ElementState.SERVING.value else 0
        mine[Release(blueprint, image)] = (there + count, serving + serves)
    return {
        tier: [
            Runs(release, *mine[release])
            for release in sorted(mine, key=lambda each: (-each.blueprint, -each.image))
        ]
        for tier, mine in counts.items()
    }
