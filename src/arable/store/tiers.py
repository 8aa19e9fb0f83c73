"""How tiers of farms are kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import delete, func, select, update

from arable.domain.access import Scope
from arable.domain.balancer import Calm
from arable.domain.element import Element, ElementState
from arable.domain.ids import AccountId, BalancerId, FarmId, TierId
from arable.domain.tier import Tier
from arable.store import balancers, kept, scalings, tier_notes
from arable.store import schema as t
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.many import among
from arable.store.nudges import nudge
from arable.store.rows import raw
from arable.store.scope import visible

WHAT = "tier"
TOPIC = tier_notes.TOPIC

_c = t.tier.c


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFilter:
    """Which tiers of a list."""

    account: AccountId | None = None
    farm: FarmId | None = None
    name: str | None = None


def get(tx: Tx, scope: Scope, tier: TierId, *, lock: bool = False) -> Tier:
    """The tier, if it is there and in sight. Raises `NotFound`."""
    return kept.get(tx, t.tier, Tier, WHAT, _c.id == tier, *visible(_c.account, scope), lock=lock)


def page(
    tx: Tx, scope: Scope, where: TierFilter, *, after: str | None = None, limit: int = 100
) -> list[Tier]:
    """By age."""
    conditions = visible(_c.account, scope)
    for column, wanted in (
        (_c.account, where.account),
        (_c.farm, where.farm),
        (_c.name, where.name),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    return kept.page(tx, t.tier, Tier, conditions, after=after, limit=limit)


def of_farms(tx: Tx, farms: Iterable[FarmId], *, lock: bool = False) -> dict[FarmId, list[Tier]]:
    """The tiers of each of these farms, by age."""
    query = select(t.tier).where(among(tx, _c.farm, farms)).order_by(_c.id)
    found: dict[FarmId, list[Tier]] = {}
    for row in tx.execute(query.with_for_update() if lock else query):
        found.setdefault(row.farm, []).append(kept.value(Tier, row))
    return found


def add(tx: Tx, tier: Tier) -> None:
    """A new one, which wants attention."""
    kept.add(tx, t.tier, tier)
    scalings.begin(tx, tier)
    nudge(tx, TOPIC)


def save(tx: Tx, tier: Tier) -> None:
    """The next generation; raises `Stale` when somebody got there first."""
    count = tx.execute(select(_c.count).where(_c.id == tier.id)).scalar()
    kept.save(tx, t.tier, tier, WHAT)
    scalings.begin(tx, tier, count)
    if tier.body.policy is None:
        _be_calm(tx, tier)
    if tier.attention:
        nudge(tx, TOPIC)


def _be_calm(tx: Tx, tier: Tier) -> None:
    """Nobody acts by its balancers' figures any more: only of their members is news told at once."""
    balancer = t.balancer.c
    ids = among(tx, balancer.id, [door.balancer for door in tier.body.doors])
    for id_ in tx.scalars(select(balancer.id).where(ids, balancer.calm.is_not(None))).all():
        balancers.set_calm(tx, BalancerId(id_), Calm())


def set_count(tx: Tx, tier: TierId, generation: int, count: int) -> bool:
    """So many elements there should be from now on, unless the tier changed since it had that generation.

    Written within its bounds alone, and to a tier that is leaving never. What it waited for does not hold it any more.
    """
    done = tx.execute(
        update(t.tier)
        .where(
            _c.id == tier,
            _c.generation == generation,
            _c.least <= count,
            _c.most >= count,
            _c.leaving.is_(False),
        )
        .values(count=count, attention=True, again_at=None, tries=0, generation=_c.generation + 1)
    )
    if done.rowcount != 1:
        return False
    nudge(tx, TOPIC)
    return True


def by_ids(tx: Tx, ids: Iterable[TierId]) -> dict[TierId, Tier]:
    """Those of these that are there."""
    query = select(t.tier).where(among(tx, _c.id, ids))
    return {TierId(row.id): kept.value(Tier, row) for row in tx.execute(query)}


def look_at(tx: Tx, tier: TierId) -> None:
    """Have one looked at soon, which changes nothing of it."""
    tx.execute(update(t.tier).where(_c.id == tier).values(attention=True))
    nudge(tx, TOPIC)


def published(tx: Tx, *, image: str = "", blueprint: str = "") -> int:
    """There is another version of an image, or of a blueprint: have tiers looked at that get it by themselves; how many."""
    here = _c.image == image if image else _c.blueprint == blueprint
    ids = select(_c.id).where(_c.automatic, here).order_by(_c.id)
    found = list(tx.scalars(ids.with_for_update()))
    if found:
        tx.execute(update(t.tier).where(among(tx, _c.id, found)).values(attention=True))
        nudge(tx, TOPIC)
    return len(found)


def elements(tx: Tx, tiers: Iterable[TierId]) -> dict[TierId, list[Element]]:
    """The elements of each of these tiers, by number."""
    found: dict[TierId, list[Element]] = {}
    for row in _elements.rows(tx, tiers):
        found.setdefault(row.tier, []).append(_element(row))
    return found


_elements = Lookup(
    lambda among: (
        raw(t.element, t.element.c.keys())
        .where(among(t.element.c.tier))
        .order_by(t.element.c.tier, t.element.c.number)
    )
)


def _element(row: Any) -> Element:
    """Rounds read them by the thousand."""
    return Element(
        id=row.id,
        tier=row.tier,
        farm=row.farm,
        account=row.account,
        number=row.number,
        state=ElementState(row.state),
        machine=row.machine,
        blueprint_number=row.blueprint_number,
        image_version=row.image_version,
        kept={} if row.kept == "{}" else msgspec.json.decode(row.kept),
        surplus=bool(row.surplus),
        tries=row.tries,
        told=row.told,
        replaces=row.replaces,
        by_force=bool(row.by_force),
        operation=row.operation,
        since=moment(row.since),
        generation=row.generation,
    )


def serving(tx: Tx, tiers: Iterable[TierId]) -> dict[TierId, int]:
    """How many elements of each of these tiers take part."""
    e = t.element.c
    here = (among(tx, e.tier, tiers), e.state == ElementState.SERVING.value)
    query = select(e.tier, func.count()).where(*here).group_by(e.tier)
    return {TierId(tier): count for tier, count in tx.execute(query)}


def remove(tx: Tx, tier: TierId) -> None:
    """Forget one that has no elements any more."""
    tier_notes.remove(tx, tier)
    tx.execute(delete(t.tier).where(_c.id == tier))
