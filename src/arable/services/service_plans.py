"""What one may ask of service plans, and what a plan makes of the document of an order."""

import msgspec
from msgspec import UNSET, structs

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import PlanId
from arable.domain.plan import PlanKind, ServicePlan
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.services.farm_tiers import most_of
from arable.services.pages import paged
from arable.store import service_plans
from arable.wire.common import Page
from arable.wire.farms import FarmIn
from arable.wire.orders import PlanChange, PlanIn, PlanOut, PlanQuery, PlanTierIn
from arable.wire.tiers import TierIn


def page(call: Call, query: PlanQuery) -> Page[PlanOut]:
    """All, by age."""
    call.caller.needs(Permission.CATALOGUE_READ)
    found = service_plans.page(call.tx, query.name, after=query.after, limit=query.limit + 1)
    return paged(found, query, _shape)


def get(call: Call, plan: PlanId) -> PlanOut:
    """One."""
    call.caller.needs(Permission.CATALOGUE_READ)
    return _shape(service_plans.get(call.tx, plan))


def create(call: Call, ask: PlanIn) -> PlanOut:
    """A new one."""
    call.caller.needs(Permission.CATALOGUE_WRITE)
    _check(PlanKind(ask.scaling), ask.tiers)
    made = ServicePlan(
        id=PlanId(call.around.ids.new("plan")),
        name=ask.name,
        kind=PlanKind(ask.scaling),
        rules=_kept(ask.tiers),
        about=ask.about,
        created_at=call.around.clock.now(),
    )
    service_plans.add(call.tx, made)
    return _shape(made)


def update(call: Call, plan: PlanId, change: PlanChange) -> PlanOut:
    """Other rules for who orders from now on, or an end to it."""
    call.caller.needs(Permission.CATALOGUE_WRITE)
    found = service_plans.get(call.tx, plan, lock=True)
    check_expected(call, found.generation, service_plans.WHAT)
    but = {
        name: value
        for name in ("about", "enabled")
        if (value := getattr(change, name)) is not UNSET
    }
    if change.tiers is not UNSET:
        _check(found.kind, change.tiers)
        but["rules"] = _kept(change.tiers)
    after = found.changed(**but)
    service_plans.save(call.tx, after)
    return _shape(after)


def delete(call: Call, plan: PlanId) -> None:
    """Farms that were ordered by it stay as they are."""
    call.caller.needs(Permission.CATALOGUE_WRITE)
    found = service_plans.get(call.tx, plan, lock=True)
    check_expected(call, found.generation, service_plans.WHAT)
    service_plans.remove(call.tx, found)


def chosen(call: Call, ref: str) -> ServicePlan:
    """The plan that somebody orders by."""
    found = service_plans.find(call.tx, ref)
    if found is None:
        raise BadInput("there is no such service plan", field="plan")
    if not found.enabled:
        raise Conflict(f"nobody orders by {found.name} any more", field="plan")
    return found


def applied(plan: ServicePlan, document: FarmIn) -> FarmIn:
    """The document as the plan has it; raises `BadInput` where it asks for what the plan does not give."""
    rules = [msgspec.convert(each, PlanTierIn) for each in plan.rules["tiers"]]
    named = {rule.tier: rule for rule in rules}
    tiers = []
    for at, tier in enumerate(document.tiers):
        rule = named.get(tier.name, named.get(None))
        if rule is None:
            raise BadInput(
                f"the plan {plan.name} has no tier of this name", field=f"document.tiers.{at}.name"
            )
        tiers.append(_tier(plan, rule, tier, f"document.tiers.{at}"))
    return structs.replace(document, tiers=tuple(tiers))


def _tier(plan: ServicePlan, rule: PlanTierIn, tier: TierIn, field: str) -> TierIn:
    if most_of(tier) > rule.most:
        raise BadInput(f"the plan {plan.name} has at most {rule.most}", field=f"{field}.most")
    least = max(tier.least, rule.least)
    most = max(most_of(tier), least)
    match plan.kind:
        case PlanKind.FIXED:
            for name in ("policy", "windows"):
                if getattr(tier, name):
                    raise BadInput(f"farms of {plan.name} have none", field=f"{field}.{name}")
            count = max(least, tier.count or 0)
            if tier.most is not None and tier.most != count:
                raise BadInput(
                    f"farms of {plan.name} don't grow: {count}, no more", field=f"{field}.most"
                )
            return structs.replace(tier, least=count, most=count, count=None)
        case PlanKind.AUTOSCALING:
            policy = tier.policy or rule.policy
            if policy is None:
                raise BadInput("neither plan nor document say how", field=f"{field}.policy")
            most = rule.most if tier.most is None else most
            return structs.replace(tier, least=least, most=most, policy=policy, count=None)
        case PlanKind.WINDOWS:
            windows = (*rule.windows, *tier.windows)
            if tier.policy is not None:
                raise BadInput(f"farms of {plan.name} have none", field=f"{field}.policy")
            top = max([most, *(window.least for window in windows)])
            if top > rule.most:
                raise BadInput(
                    f"the plan {plan.name} has at most {rule.most}", field=f"{field}.windows"
                )
            return structs.replace(tier, least=least, most=top, windows=windows)


def _check(kind: PlanKind, rules: tuple[PlanTierIn, ...]) -> None:
    seen: set[str | None] = set()
    for at, rule in enumerate(rules):
        if rule.tier in seen:
            raise BadInput("there is a rule for it already", field=f"tiers.{at}.tier")
        seen.add(rule.tier)
        if rule.least > rule.most:
            raise BadInput(
                f"at least {rule.least}, and at most {rule.most}?", field=f"tiers.{at}.most"
            )
        if rule.policy is not None and kind is not PlanKind.AUTOSCALING:
            raise BadInput(f"a plan that is {kind} has no policies", field=f"tiers.{at}.policy")
        if rule.windows and kind is not PlanKind.WINDOWS:
            raise BadInput(f"a plan that is {kind} has no windows", field=f"tiers.{at}.windows")
        if any(window.least > rule.most for window in rule.windows):
            raise BadInput(f"more than {rule.most}, the most", field=f"tiers.{at}.windows")


def _kept(rules: tuple[PlanTierIn, ...]) -> dict[str, object]:
    return {"tiers": msgspec.to_builtins(rules)}


def _shape(plan: ServicePlan) -> PlanOut:
    return PlanOut(
        id=plan.id,
        name=plan.name,
        scaling=plan.kind.value,
        tiers=list(plan.rules["tiers"]),
        about=plan.about,
        enabled=plan.enabled,
        generation=plan.generation,
        created_at=plan.created_at,
    )
