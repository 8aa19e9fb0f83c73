"""What one may ask of rollouts, and how they begin: by a change of a farm's document, or by what was published.

A tier has at most one under way. What it should be made of stands in the tier's row; a rollout remembers what there was
before, and `controllers/rollouts` has elements follow.
"""

from collections.abc import Sequence
from dataclasses import replace

from arable.domain.access import Permission, Scope
from arable.domain.element import ElementState
from arable.domain.errors import CloudError, Conflict
from arable.domain.ids import AccountId, BalancerId, FarmId, OperationId, RolloutId, TierId
from arable.domain.operation import Operation
from arable.domain.rollout import Cause, Rollout, RolloutEvent, RolloutState
from arable.domain.tier import Release, Tier
from arable.domain.tier_acts import release
from arable.services import balancers as balancers_
from arable.services import farm_doors, farm_tiers
from arable.services.asks import begin as begin_operation
from arable.services.asks import check_expected, tell
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import (
    balancers,
    blueprints,
    farm_documents,
    farms,
    images,
    operations,
    rollouts,
    tiers,
)
from arable.store.rollouts import RolloutFilter
from arable.wire.balancers import BalancerChange
from arable.wire.common import Page
from arable.wire.rollouts import ReleaseOut, RolloutMadeOut, RolloutOut, RolloutQuery

_S, _E = RolloutState, RolloutEvent


def page(call: Call, query: RolloutQuery) -> Page[RolloutOut]:
    """Those in sight, the newest first."""
    call.caller.needs(Permission.FARM_READ)
    where = RolloutFilter(
        account=AccountId(query.account) if query.account else None,
        farm=FarmId(query.farm) if query.farm else None,
        tier=TierId(query.tier) if query.tier else None,
        is_open=None if query.state is None else query.state == "open",
    )
    scope = call.caller.scope
    found = rollouts.page(call.tx, scope, where, after=query.after, limit=query.limit + 1)
    shapes = {shape.id: shape for shape in _shapes(call, found)}
    return paged(found, query, lambda each: shapes[each.id])


def get(call: Call, rollout: RolloutId) -> RolloutOut:
    """One."""
    call.caller.needs(Permission.FARM_READ)
    return _shapes(call, [rollouts.get(call.tx, call.caller.scope, rollout)])[0]


def pause(call: Call, rollout: RolloutId) -> RolloutOut:
    """No more elements are made anew; those that drain are taken back."""
    _, before = _own(call, rollout)
    now = before.after(_E.PAUSE, call.around.clock.now(), told="paused by hand", due_at=None)
    return _changed(call, now, "rollout.paused", "paused")


def resume(call: Call, rollout: RolloutId) -> RolloutOut:
    """It goes on."""
    _, before = _own(call, rollout)
    at = call.around.clock.now()
    now = before.after(_E.RESUME, at, told="", due_at=at)
    return _changed(call, now, "rollout.resumed", "goes on")


def back(call: Call, rollout: RolloutId) -> RolloutMadeOut:
    """All elements are made of the release before again, in the same way."""
    tier, before = _own(call, rollout)
    at = call.around.clock.now()
    now = before.after(_E.TURN_BACK, at, cause=Cause.HAND, told="turned back by hand", due_at=at)
    operation = begin_operation(call, "rollout.back", rollout, tier.account, done=False)
    _give_up(
        call, before, Conflict(f"{tier.name} was turned back by hand", why={"by": operation.id})
    )
    now = replace(now, operation=operation.id)
    rollouts.turn_back(call.tx, tier, now)
    _tell(call, now, "rollout.turned-back", "is turned back by hand")
    return RolloutMadeOut(operation=operation.id, rollout=_shapes(call, [now])[0])


def _own(call: Call, rollout: RolloutId) -> tuple[Tier, Rollout]:
    """Held as its controller does: by its tier."""
    call.caller.needs(Permission.FARM_WRITE)
    scope = call.caller.scope
    seen = rollouts.get(call.tx, scope, rollout)
    tier = tiers.get(call.tx, scope, seen.tier, lock=True)
    found = rollouts.get(call.tx, scope, rollout)
    check_expected(call, found.generation, "rollout")
    return tier, found


def _changed(call: Call, now: Rollout, kind: str, text: str) -> RolloutOut:
    rollouts.save(call.tx, now)
    tiers.look_at(call.tx, now.tier)
    if now.operation is not None:
        operations.advance(call.tx, now.operation, _said(call, now, text), call.around.clock.now())
    _tell(call, now, kind, text)
    return _shapes(call, [now])[0]


# --- how they begin


def lead(call: Call, before: Tier, now: Tier) -> tuple[Tier, str]:
    """Have it rolled out when a tier gets another release; the tier as it is to be kept, and what is done, for a plan.

    A goal that is newer takes the place of one that is being rolled out; what there was before stays what there is to go
    back to. While a tier comes back from a goal, that goal is not begun with anew.
    """
    open_ = rollouts.under_way(call.tx, [before.id]).get(before.id)
    if open_ is not None and open_.state is _S.BACK and now.release == open_.goal:
        return _as_it_was(before, now), "comes back from that version"
    if now.release == before.release:
        return now, ""
    at = call.around.clock.now()
    if open_ is not None and now.release == open_.before and open_.state is not _S.BACK:
        told = "its document says the release before again"
        after = open_.after(
            _E.TURN_BACK, at, cause=Cause.DOCUMENT, told=told, operation=None, due_at=at
        )
        rollouts.save(call.tx, after)
        _give_up(call, open_, Conflict(f"superseded: {told}"))
        _tell(call, after, "rollout.turned-back", f"is turned back: {told}")
        return now, "turned back"
    if open_ is not None:
        _end(call, open_, "another release was asked for")
    found = tiers.elements(call.tx, [before.id]).get(before.id, [])
    old = [
        each
        for each in found
        if each.state is not ElementState.WAITING and release(each) != now.release
    ]
    if not old and open_ is None:
        return now, ""
    _add(call, now, open_.before if open_ else before.release)
    return now, f"{len(old)} element{'s' * (len(old) != 1)} to renew"


def _as_it_was(before: Tier, now: Tier) -> Tier:
    """All but the release."""
    kept = replace(
        now,
        blueprint_number=before.blueprint_number,
        image=before.image,
        image_version=before.image_version,
    )
    same = replace(kept, generation=before.generation, attention=before.attention)
    same = replace(same, again_at=before.again_at, tries=before.tries)
    return before if same == before else kept


def _add(call: Call, tier: Tier, before: Release, operation: OperationId | None = None) -> Rollout:
    at = call.around.clock.now()
    body = blueprints.version(call.tx, tier.blueprint, tier.blueprint_number).body
    made = Rollout(
        id=RolloutId(call.around.ids.new("rollout")),
        tier=tier.id,
        farm=tier.farm,
        account=tier.account,
        before=before,
        goal=tier.release,
        policy=body.update,
        due_at=at,
        operation=operation,
        created_at=at,
    )
    rollouts.add(call.tx, made)
    _tell(
        call,
        made,
        "rollout.begun",
        f"is made of {_words(made.goal)}, no longer of {_words(before)}",
    )
    return made


def followed(call: Call, farm: FarmId) -> list[Rollout]:
    """Those of a farm's tiers that whoever changes the farm now waits for: all by which tiers change, but not by themselves."""
    ids = [tier.id for tier in tiers.of_farms(call.tx, [farm]).get(farm, [])]
    document = farm_documents.of(call.tx, [farm]).get(farm)
    ours = {None, document.operation if document else None}
    return [
        each
        for each in rollouts.under_way(call.tx, ids).values()
        if each.state is not _S.BACK and each.operation in ours
    ]


def follow(call: Call, found: Sequence[Rollout], operation: Operation) -> None:
    """Let an operation wait for these."""
    for each in found:
        rollouts.save(call.tx, each.changed(operation=operation.id))


def drop(call: Call, tier: Tier) -> None:
    """Its tier leaves."""
    open_ = rollouts.under_way(call.tx, [tier.id]).get(tier.id)
    if open_ is not None:
        _end(call, open_, "its tier is leaving")


def _end(call: Call, open_: Rollout, told: str) -> None:
    rollouts.save(call.tx, open_.after(_E.DROP, call.around.clock.now(), told=told, due_at=None))
    _give_up(call, open_, Conflict(f"superseded: {told}"))


def _give_up(call: Call, open_: Rollout, error: CloudError) -> None:
    """Whoever waits for it is told; a change of the whole farm may wait for more."""
    if open_.operation is not None:
        at = call.around.clock.now()
        operations.settle_many(call.tx, {open_.operation: (1, error)}, at)


# --- by themselves


def begin(call: Call, tier: Tier, goal: Release) -> Tier:
    """What a tier follows was published: it is rolled out, in the farm's name. The tier from then on.

    What its document would be refused with is told, once: the version counts as one that failed.
    """
    at = call.around.clock.now()
    try:
        version = blueprints.version(call.tx, tier.blueprint, goal.blueprint)
        _check(call, tier, goal)
    except CloudError as error:
        told = f"refused: {error.public}"
        refused = Rollout(
            id=RolloutId(call.around.ids.new("rollout")),
            tier=tier.id,
            farm=tier.farm,
            account=tier.account,
            state=_S.FAILED,
            before=tier.release,
            goal=goal,
            policy=blueprints.version(call.tx, tier.blueprint, tier.blueprint_number).body.update,
            cause=Cause.FAILURES,
            told=told,
            created_at=at,
            ended_at=at,
        )
        rollouts.add(call.tx, refused)
        _tell(call, refused, "rollout.failed", f"can't be made of {_words(goal)}: {told}")
        return tier
    now = tier.changed(
        blueprint_number=goal.blueprint,
        image=version.body.image,
        image_version=goal.image,
        attention=True,
        again_at=None,
        tries=0,
    )
    tiers.save(call.tx, now)
    found = tiers.elements(call.tx, [tier.id]).get(tier.id, [])
    if any(each.state is not ElementState.WAITING for each in found):
        operation = begin_operation(call, "tier.rollout", tier.id, tier.account, done=False)
        _add(call, now, tier.release, operation.id)
    return now


def _check(call: Call, tier: Tier, goal: Release) -> None:
    """Raises what its document would be refused with."""
    version = blueprints.version(call.tx, tier.blueprint, goal.blueprint)
    images.get(call.tx, Scope(account=tier.account), version.body.image)
    images.version(call.tx, version.body.image, goal.image)
    document = farm_documents.of(call.tx, [tier.farm]).get(tier.farm)
    if document is None or goal.blueprint == tier.blueprint_number:
        return
    spec = farm_tiers.spec_of(document)
    said = next((each for each in spec.tiers if each.name == tier.name), None)
    if said is None:
        return
    farm_tiers.check_version(spec, said, version, "blueprint")
    now = blueprints.version(call.tx, tier.blueprint, tier.blueprint_number)
    for way in farm_doors.of(spec):
        if way.tier == tier.name:
            way.check_same(now, version)


def set_check(call: Call, balancer: BalancerId, tier: Tier) -> None:
    """From now on it is looked at as the version of its blueprint says that all elements are made of."""
    check = blueprints.version(call.tx, tier.blueprint, tier.blueprint_number).body.check
    if balancers.get(call.tx, call.caller.scope, balancer).check != check:
        change = BalancerChange(check=farm_doors.asked_check(check))
        balancers_.update(call, balancer, change)


# --- words


def _words(of: Release) -> str:
    return f"version {of.blueprint}, image version {of.image}"


def _tell(call: Call, rollout: Rollout, kind: str, text: str) -> None:
    tell(call, rollout.account, kind, rollout.id, _said(call, rollout, text))


def _said(call: Call, rollout: Rollout, text: str) -> str:
    farm = farms.names(call.tx, {rollout.farm})[rollout.farm]
    tier = tiers.get(call.tx, Scope(account=rollout.account), rollout.tier)
    return f"{farm}-{tier.name}: {text}"


def _shapes(call: Call, found: Sequence[Rollout]) -> list[RolloutOut]:
    of = tiers.by_ids(call.tx, {each.tier for each in found})
    names = farms.names(call.tx, {each.farm for each in found})
    return [_shape(each, of[each.tier], names[each.farm]) for each in found]


def _shape(rollout: Rollout, tier: Tier, farm: str) -> RolloutOut:
    return RolloutOut(
        id=rollout.id,
        account=rollout.account,
        farm=rollout.farm,
        tier=rollout.tier,
        name=f"{farm}-{tier.name}",
        state=rollout.state.value,
        before=ReleaseOut(
            blueprint_version=rollout.before.blueprint, image_version=rollout.before.image
        ),
        goal=ReleaseOut(blueprint_version=rollout.goal.blueprint, image_version=rollout.goal.image),
        surge=rollout.policy.surge,
        unavailable=rollout.policy.unavailable,
        bake_seconds=rollout.policy.bake_seconds,
        canary=rollout.policy.canaries(tier.count),
        canary_seconds=rollout.policy.canary_seconds if rollout.policy.canary else 0,
        may_fail=rollout.policy.failures,
        failures=rollout.failures,
        renewed=rollout.renewed,
        count=tier.count,
        told=rollout.told,
        operation=rollout.operation,
        generation=rollout.generation,
        created_at=rollout.created_at,
        ended_at=rollout.ended_at,
    )
