"""How rollouts of tiers are kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text

from arable.domain.access import Scope
from arable.domain.ids import AccountId, FarmId, OperationId, RolloutId, TierId
from arable.domain.rollout import Cause, Rollout, RolloutState
from arable.domain.tier import Release, Tier
from arable.store import alerts, blueprints, kept, tiers
from arable.store import schema as t
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge
from arable.store.scope import visible

WHAT = "rollout"

_c = t.rollout.c
# Of each tier the last one alone: who tried again knows.
_TURNED_BACK = text("""
    select rollout.id, farm.name, tier.name, rollout.told from rollout
      join tier on tier.id = rollout.tier join farm on farm.id = rollout.farm
    where rollout.cause = 'failures' and (rollout.ended_at is null or rollout.ended_at > :since)
      and not exists (select 1 from rollout r where r.tier = rollout.tier and r.id > rollout.id)
    order by rollout.id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFilter:
    """Which rollouts of a list."""

    account: AccountId | None = None
    farm: FarmId | None = None
    tier: TierId | None = None
    is_open: bool | None = None


def add(tx: Tx, rollout: Rollout) -> None:
    """A new one."""
    kept.add(tx, t.rollout, rollout)
    if rollout.cause is Cause.FAILURES:
        nudge(tx, alerts.TOPIC)


def save(tx: Tx, rollout: Rollout) -> None:
    """The next generation; raises `Stale` when somebody got there first."""
    kept.save(tx, t.rollout, rollout, WHAT)
    if rollout.cause is Cause.FAILURES:
        nudge(tx, alerts.TOPIC)


def turn_back(tx: Tx, tier: Tier, rollout: Rollout) -> Tier:
    """Keep a rollout that turned back, and its tier (held by whoever calls), which is of the release before again."""
    save(tx, rollout)
    before = rollout.before
    now = tier.changed(
        blueprint_number=before.blueprint,
        image=blueprints.version(tx, tier.blueprint, before.blueprint).body.image,
        image_version=before.image,
        attention=True,
        again_at=None,
        tries=0,
    )
    tiers.save(tx, now)
    return now


def get(tx: Tx, scope: Scope, rollout: RolloutId) -> Rollout:
    """The rollout, if it is there and in sight. Raises `NotFound`."""
    return kept.get(tx, t.rollout, Rollout, WHAT, _c.id == rollout, *visible(_c.account, scope))


def page(
    tx: Tx, scope: Scope, where: RolloutFilter, *, after: str | None = None, limit: int = 100
) -> list[Rollout]:
    """The newest first, as that is what is asked for; `after` is the id of the last one seen."""
    conditions = visible(_c.account, scope)
    for column, wanted in (
        (_c.account, where.account),
        (_c.farm, where.farm),
        (_c.tier, where.tier),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    if where.is_open is not None:
        conditions.append(_c.ended_at.is_(None) if where.is_open else _c.ended_at.is_not(None))
    if after is not None:
        conditions.append(_c.id < after)
    query = select(t.rollout).where(*conditions).order_by(_c.id.desc()).limit(limit)
    return [kept.value(Rollout, row) for row in tx.execute(query)]


def under_way(tx: Tx, ids: Iterable[TierId]) -> dict[TierId, Rollout]:
    """Those of these tiers that are not over."""
    query = select(t.rollout).where(among(tx, _c.tier, ids), _c.ended_at.is_(None))
    found = [kept.value(Rollout, row) for row in tx.execute(query)]
    return {each.tier: each for each in found}


def failed(tx: Tx, tier: TierId) -> set[Release]:
    """Goals that this tier came back from, because they failed or somebody did not want them."""
    causes = (Cause.FAILURES.value, Cause.HAND.value)
    query = select(_c.goal).where(_c.tier == tier, _c.cause.in_(causes))
    return {Release(**goal) for goal in tx.scalars(query)}


def failed_with(tx: Tx, operation: OperationId) -> bool:
    """Whether one that an operation waited for came to nothing."""
    here = (_c.operation == operation, _c.state == RolloutState.FAILED.value)
    return tx.execute(select(_c.id).where(*here).limit(1)).first() is not None


def turned_back(tx: Tx, since: datetime) -> list[tuple[RolloutId, str, str, str]]:
    """Those that turned back by themselves and are not over since long: id, names of farm and tier, and why."""
    rows = tx.execute(_TURNED_BACK, {"since": micros(since)})
    return [(RolloutId(id_), farm, tier, told) for id_, farm, tier, told in rows]
