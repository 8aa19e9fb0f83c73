"""Tiers get as many elements as their policies and windows say, by what they bear.

It decides counts and nothing else; `controllers/tiers` makes elements follow. A count is set only in the generation of the
tier that was looked at, and only by the server that holds the farm (`controllers/farm_managers.py`), so that two never
decide by the same load. What a policy remembers is in the tier's row, so another server goes on where one has stopped.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from arable.controllers import load
from arable.domain.balancer import Band, Calm
from arable.domain.event import Event
from arable.domain.ids import FarmId, SegmentId
from arable.domain.scaling import (
    Bounds,
    Decision,
    Load,
    Memory,
    Metric,
    Policy,
    decide,
    hold,
    least_now,
    top,
)
from arable.domain.tier import Tier
from arable.store import balancers, events, farms, incarnations, scalings, tier_loads, tiers
from arable.store.database import Tx
from arable.store.scalings import Scaling

MOST = 200
"""Farms of one round."""
SECONDS = 5
TOPIC = "load"
_LOOK_SECONDS = 10  # without news, as often as hosts report

_ENDLESS = 10**9


def wanting(tx: Tx, holder: SegmentId, at: datetime) -> Sequence[FarmId]:
    """Its farms with tiers that scale by themselves, when it is time to look at them."""
    return scalings.wanting(tx, holder, at, _LOOK_SECONDS, MOST)


def attend(tx: Tx, at: datetime, ids: Iterable[FarmId]) -> int:
    """One look at these farms; how many tiers have another count since."""
    if incarnations.taking_stock(tx):
        return 0
    locked = tiers.of_farms(tx, ids, lock=True)
    kept = scalings.of(tx, [tier.id for of in locked.values() for tier in of])
    found = [tier for of in locked.values() for tier in of if tier.id in kept and not tier.leaving]
    found.sort(key=lambda tier: tier.id)
    names = farms.names(tx, {tier.farm for tier in found})
    loads = load.gather(tx, found, at)
    serving = tiers.serving(tx, [tier.id for tier in found])
    changed = 0
    for tier in found:
        before = kept[tier.id]
        memory = before.memory
        if (at - before.at).total_seconds() > tier_loads.STALE_SECONDS:  # nobody looked
            memory = Memory(up_at=memory.up_at, before=memory.before)
        decided = _decide(tier, serving.get(tier.id, 0), loads.get(tier.id), memory, at)
        told = before.told
        if decided.count != tier.count:
            if not tiers.set_count(tx, tier.id, tier.generation, decided.count):
                continue
            told = decided.why
            events.add_many(tx, [_event(tier, names[tier.farm], decided, at)])
            changed += 1
        scalings.looked(tx, tier.id, Scaling(decided.memory, told, at))
        if tier.body.policy is not None:
            _watch(tx, tier, tier.body.policy, decided.count)
    return changed


def _decide(tier: Tier, serving: int, known: Load | None, memory: Memory, at: datetime) -> Decision:
    open_now = least_now(tier.body.windows, ZoneInfo(tier.body.time_zone), at)
    bounds = Bounds(min(max(tier.least, open_now), tier.most), tier.most)
    if tier.body.policy is None:
        return hold(bounds, tier.count, memory)
    return decide(
        tier.body.policy, bounds, serving, tier.count, known, memory, at, tier_loads.STALE_SECONDS
    )


def _event(tier: Tier, farm: str, decided: Decision, at: datetime) -> Event:
    data = {"tier": tier.id, "farm": tier.farm, "before": tier.count, "count": decided.count}
    return Event(
        at=at,
        account=tier.account,
        kind="tier.scaled",
        subject=tier.id,
        text=f"{farm}: {tier.name} has {decided.count} elements, not {tier.count}: {decided.why}",
        data=data,
    )


def _watch(tx: Tx, tier: Tier, policy: Policy, count: int) -> None:
    """Have it told at once when one of its balancers bears so much that there may have to be more elements.

    Of several each has its share: if all together bear more than is right, one of them bears more than that. That there is
    less to bear is soon enough known with the heartbeat. With the most elements there is nothing to hurry for.
    """
    ids = [door.balancer for door in tier.body.doors]
    for id_ in ids:
        calm = Calm(
            sessions=_band(tier, policy, Metric.SESSIONS, count, len(ids)),
            request_rate=_band(tier, policy, Metric.REQUESTS, count, len(ids)),
            response_ms=_band(tier, policy, Metric.RESPONSE, count, 1),
        )
        balancers.set_calm(tx, id_, calm)


def _band(tier: Tier, policy: Policy, metric: Metric, count: int, doors: int) -> Band | None:
    highest = top(policy, metric, count)
    if highest is None:
        return None
    return Band(most=_ENDLESS if count >= tier.most else int(highest / doors))
