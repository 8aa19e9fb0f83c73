"""What one may ask of single elements of tiers: which there are, and that one gets another machine."""

from collections.abc import Sequence

from arable.domain.access import Permission
from arable.domain.element import Element, ElementState
from arable.domain.errors import Conflict
from arable.domain.farm import FarmState
from arable.domain.ids import AccountId, ElementId, FarmId, TierId
from arable.domain.tier import Tier
from arable.domain.tier_acts import HOLDING, bound, held, never_spared
from arable.services.asks import begin, check_expected, tell
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.store import elements, farm_documents, quotas, tiers
from arable.store.elements import ElementFilter
from arable.store.nudges import nudge
from arable.wire.common import Page
from arable.wire.elements import ElementOut, ElementQuery, ElementReplaceIn
from arable.wire.operations import OperationOut


def page(call: Call, query: ElementQuery) -> Page[ElementOut]:
    """Elements in sight, by age."""
    call.caller.needs(Permission.FARM_READ)
    where = ElementFilter(
        account=AccountId(query.account) if query.account else None,
        farm=FarmId(query.farm) if query.farm else None,
        tier=TierId(query.tier) if query.tier else None,
        name=query.name,
    )
    scope = call.caller.scope
    found = elements.page(call.tx, scope, where, after=query.after, limit=query.limit + 1)
    names = elements.titles(call.tx, found)
    return paged(found, query, lambda each: element_out(each, names[each.id]))


def get(call: Call, element: ElementId) -> ElementOut:
    """One."""
    call.caller.needs(Permission.FARM_READ)
    found = elements.get(call.tx, call.caller.scope, element)
    return element_out(found, _name(call, [found]))


def replace(call: Call, element: ElementId, ask: ElementReplaceIn) -> OperationOut:
    """It is drained, leaves, and gets another machine; the operation is done when that one serves.

    Refused where fewer would serve meanwhile than always should, unless by force; where enough should serve and do not
    yet, it waits until they do.
    """
    call.caller.needs(Permission.FARM_WRITE)
    found = elements.get(call.tx, call.caller.scope, element)
    quotas.hold(call.tx, found.account)  # as changes of the farm's document do
    document = farm_documents.held(call.tx, found.farm)
    tier = tiers.get(call.tx, call.caller.scope, found.tier, lock=True)
    before = elements.get(call.tx, call.caller.scope, element)  # rounds hold the tier as well
    check_expected(call, before.generation, "element")
    name = _name(call, [before])
    leaving = tier.leaving or document is None or document.state is not FarmState.READY
    _check(tier, before, name, leaving=leaving, force=ask.force)
    operation = begin(call, "element.replace", before.id, before.account, done=False)
    after = before.changed(replaces=before.machine, by_force=ask.force, operation=operation.id)
    elements.save_many(call.tx, [(after, before.generation)])
    elements.put_note(
        call.tx, tier.id, attention=True, again_at=None, tries=tier.tries, told=tier.told
    )
    nudge(call.tx, tiers.TOPIC)
    how = ", by force" if ask.force else ""
    tell(
        call,
        before.account,
        "element.replacing",
        before.id,
        f"{name}: is to get another machine{how}",
    )
    return shown(operation)


def _check(tier: Tier, element: Element, name: str, *, leaving: bool, force: bool) -> None:
    if leaving:
        raise Conflict(f"{tier.name} is leaving, and {name} with it")
    if element.operation is not None:
        raise Conflict(
            f"{name} is being replaced already: {element.operation}",
            why={"operation": element.operation},
        )
    if element.machine is None or element.state is ElementState.WAITING:
        raise Conflict(f"{name} has no machine that could be replaced; it waits for one")
    if element.state not in HOLDING:
        raise Conflict(f"{name} is {element.state}: its machine goes already")
    if not force and never_spared(tier, element, held(tier)):
        raise Conflict(
            f"without {name} fewer than {bound(tier)} elements of {tier.name} would serve, and {tier.count} are wished for: "
            "let there be one more first (`arable tier update`), or force it",
            field="force",
            why={"least": tier.least, "count": tier.count},
        )


def _name(call: Call, found: Sequence[Element]) -> str:
    return elements.titles(call.tx, found)[found[0].id]


def element_out(element: Element, name: str) -> ElementOut:
    """How it looks outside."""
    return ElementOut(
        id=element.id,
        account=element.account,
        farm=element.farm,
        tier=element.tier,
        number=element.number,
        name=name,
        state=element.state.value,
        machine=element.machine,
        blueprint_version=element.blueprint_number,
        image_version=element.image_version,
        since=element.since,
        told=element.told,
        operation=element.operation,
        generation=element.generation,
    )
