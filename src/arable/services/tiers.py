"""What one may ask of single tiers: how many elements there should be. All else is said by their farm's document."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import UNSET

from arable.domain.access import Permission, Scope
from arable.domain.element import ElementState
from arable.domain.errors import BadInput, Conflict
from arable.domain.farm import FarmState
from arable.domain.ids import AccountId, FarmId, TierId
from arable.domain.scaling import Load, Metric
from arable.domain.tier import Tier
from arable.services import farm_tiers
from arable.services.asks import check_expected, tell
from arable.services.belonging import check_home
from arable.services.call import Call
from arable.services.elements import element_out
from arable.services.farms import following
from arable.services.pages import paged
from arable.store import farm_documents, farms, quotas, scalings, tiers
from arable.store.tiers import TierFilter
from arable.wire.common import Page
from arable.wire.tiers import (
    LoadOut,
    TierChange,
    TierIn,
    TierMadeOut,
    TierOut,
    TierQuery,
)


def page(call: Call, query: TierQuery) -> Page[TierOut]:
    """Tiers in sight, by age."""
    call.caller.needs(Permission.FARM_READ)
    where = TierFilter(
        account=AccountId(query.account) if query.account else None,
        farm=FarmId(query.farm) if query.farm else None,
        name=query.name,
    )
    found = tiers.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    shapes = {shape.id: shape for shape in _shapes(call, found)}
    return paged(found, query, lambda each: shapes[each.id])


def get(call: Call, tier: TierId) -> TierOut:
    """One."""
    call.caller.needs(Permission.FARM_READ)
    return _shapes(call, [tiers.get(call.tx, call.caller.scope, tier)])[0]


def update(call: Call, tier: TierId, change: TierChange) -> TierMadeOut:
    """So many elements there should be, and may be. The farm's document says the same from then on."""
    call.caller.needs(Permission.FARM_WRITE)
    seen = tiers.get(call.tx, call.caller.scope, tier)
    check_home(call, seen.farm)
    quotas.hold(call.tx, seen.account)  # as changes of the farm's document do
    document = farm_documents.held(call.tx, seen.farm)
    before = tiers.get(call.tx, call.caller.scope, tier, lock=True)
    check_expected(call, before.generation, "tier")
    if before.leaving or document is None or document.state is not FarmState.READY:
        raise Conflict(f"{before.name} is leaving")
    said = {
        name: value
        for name in ("least", "most", "count", "standby")
        if (value := getattr(change, name)) is not UNSET
    }
    ready = said.pop("standby", before.body.standby)
    now = before.changed(
        attention=True,
        again_at=None,
        tries=0,
        body=replace(before.body, standby=ready),
        **_bounded(before, said),
    )
    tiers.save(call.tx, now)
    spec = farm_tiers.spec_of(document)
    kept = tuple(
        _documented(each, now, said) if each.name == now.name else each for each in spec.tiers
    )
    spec = msgspec.structs.replace(spec, tiers=kept)
    farm = farms.get(call.tx, Scope(account=now.account), now.farm)
    farm_tiers.check(farm.name, spec)
    operation = following(call, document, spec)
    told = f"{farm.name}: {now.name} has {now.count} elements, at least {now.least}, at most {now.most}"
    told += f", and keeps {ready} ready" if ready or before.body.standby else ""
    tell(call, now.account, "tier.scaled", now.id, told)
    return TierMadeOut(operation=operation, tier=_shapes(call, [now])[0])


def _bounded(before: Tier, said: dict[str, int]) -> dict[str, int]:
    """Within its bounds, which a count that is not said follows."""
    least, most = said.get("least", before.least), said.get("most", before.most)
    if least > most:
        field = "least" if "least" in said else "most"
        raise BadInput(f"at least {least}, and at most {most}?", field=field)
    count = said.get("count", min(max(before.count, least), most))
    if not least <= count <= most:
        raise BadInput(f"not from {least} to {most}", field="count")
    return {"least": least, "most": most, "count": count}


def _documented(before: TierIn, now: Tier, said: dict[str, int]) -> TierIn:
    """A count stands there only if somebody wrote one."""
    but: dict[str, Any] = {"least": now.least, "most": now.most, "standby": now.body.standby}
    if "count" in said or before.count is not None:
        but["count"] = now.count
    return msgspec.structs.replace(before, **but)


def shown_load(known: Load | None) -> LoadOut | None:
    """As it looks outside."""
    if known is None:
        return None
    figures = known.figures
    return LoadOut(
        at=known.at,
        requests_per_s=figures.get(Metric.REQUESTS),
        sessions=figures.get(Metric.SESSIONS),
        response_ms=figures.get(Metric.RESPONSE),
        cpu_percent=figures.get(Metric.CPU),
        memory_percent=figures.get(Metric.MEMORY),
        kbps=figures.get(Metric.KBPS),
    )


def _shapes(call: Call, found: Sequence[Tier]) -> list[TierOut]:
    elements = tiers.elements(call.tx, [each.id for each in found])
    names = farms.names(call.tx, {each.farm for each in found})
    loads = scalings.loads(call.tx, [each.id for each in found])
    scaled = scalings.of(call.tx, [each.id for each in found])
    shapes = []
    for tier in found:
        mine = elements.get(tier.id, [])
        shapes.append(
            TierOut(
                id=tier.id,
                account=tier.account,
                farm=tier.farm,
                name=tier.name,
                blueprint=tier.blueprint,
                blueprint_version=tier.blueprint_number,
                image=tier.image,
                image_version=tier.image_version,
                least=tier.least,
                most=tier.most,
                count=tier.count,
                serving=sum(each.state is ElementState.SERVING for each in mine),
                standby=tier.body.standby,
                ready=sum(each.state is ElementState.STANDBY for each in mine),
                elements=[
                    element_out(each, f"{names[tier.farm]}-{tier.name}-{each.number}")
                    for each in mine
                ],
                networks=list(tier.body.networks),
                leaving=tier.leaving,
                told=tier.told,
                load=shown_load(loads.get(tier.id)),
                why=scaled[tier.id].told if tier.id in scaled else "",
                generation=tier.generation,
                created_at=tier.created_at,
            )
        )
    return shapes
