"""What one may ask of farms. Those that have a document are made, changed and let go as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, structs

from arable.domain.access import Permission, Scope
from arable.domain.errors import BadInput, Conflict
from arable.domain.farm import DEFAULT, Farm, FarmDocument, FarmState
from arable.domain.farm_part import FarmPart, Partner
from arable.domain.ids import AccountId, FarmId, OperationId, StorageZoneId, TierId, ZoneId, kind_of
from arable.domain.operation import Operation
from arable.domain.tier import Tier
from arable.services import came_blueprints, farm_layout, farm_regions, farm_tiers, rollouts
from arable.services.asks import begin, check_expected, tell
from arable.services.belonging import check_home, check_may_go
from arable.services.call import Call
from arable.services.farm_layout import Layout
from arable.services.operations import shown
from arable.services.pages import paged
from arable.services.references import References
from arable.store import (
    came_volumes,
    farm_documents,
    farms,
    networks,
    operations,
    quotas,
    storage_zones,
    tiers,
    zones,
)
from arable.store import farm_regions as store_regions
from arable.store.networks import NetworkFilter
from arable.wire.common import Page
from arable.wire.farms import (
    FarmChange,
    FarmHomeOut,
    FarmIn,
    FarmMadeOut,
    FarmOut,
    FarmPartSpec,
    FarmQuery,
    FarmSpec,
    FarmStepOut,
    FarmTierOut,
)
from arable.wire.operations import OperationOut

_SPEC = tuple(each.name for each in structs.fields(FarmSpec))


def page(call: Call, query: FarmQuery) -> Page[FarmOut]:
    """Farms in sight, by age."""
    call.caller.needs(Permission.FARM_READ)
    where = farms.FarmFilter(
        account=AccountId(query.account) if query.account else None,
        zone=ZoneId(query.zone) if query.zone else None,
        name=query.name or "",
        storage_zone=StorageZoneId(query.storage_zone) if query.storage_zone else None,
    )
    found = farms.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    shapes = {shape.id: shape for shape in _shapes(call, found)}
    return paged(found, query, lambda each: shapes[each.id])


def get(call: Call, farm: FarmId) -> FarmOut:
    """One."""
    call.caller.needs(Permission.FARM_READ)
    return _shapes(call, [farms.get(call.tx, call.caller.scope, farm)])[0]


def create(call: Call, ask: FarmIn) -> FarmMadeOut:
    """A new farm, laid out by its document."""
    call.caller.needs(Permission.FARM_WRITE)
    made = _new(call, ask.name, ask.zone, ask.storage_zone)
    spec = FarmSpec(**{name: getattr(ask, name) for name in _SPEC})
    return _laid_out(call, made, spec, None, "create")


def make(call: Call, name: str, spec: FarmPartSpec) -> Farm:
    """A new farm of the caller's account, as its part here of one of another region."""
    made = _new(call, name, spec.zone, None)
    _laid_out(call, made, spec, None, "create")
    return made


def change(call: Call, farm: Farm, spec: FarmSpec) -> None:
    """Its document is this from now on. Whoever calls holds the account's limits."""
    _laid_out(call, farm, spec, farm_documents.held(call.tx, farm.id), "update")


def _new(call: Call, name: str, zone_ref: str | None, storage_zone: str | None) -> Farm:
    account = call.caller.account
    zone = References(call.tx).zone(zone_ref)
    if name == DEFAULT:
        raise BadInput("the default farm is made by itself, and filled by hand", field="name")
    quotas.hold(call.tx, account)  # nobody else makes a farm of this account meanwhile
    if farms.named(call.tx, account, zone.id, name) is not None:
        raise Conflict(f"you have a farm named {name} in {zone.name} already", field="name")
    made = Farm(
        id=FarmId(call.around.ids.new("farm")),
        account=account,
        zone=zone.id,
        name=name,
        storage_zone=_shared_zone(call, account, zone.id, storage_zone),
        created_at=call.around.clock.now(),
    )
    farms.add(call.tx, made)
    return made


def _shared_zone(
    call: Call, account: AccountId, zone: ZoneId, ref: str | None
) -> StorageZoneId | None:
    """None of another farm's own: that goes with it."""
    if ref is None:
        return None
    found = References(call.tx).storage_zone(account, zone, ref)
    if kind_of(found) != "storagezone":
        raise BadInput(
            f"{ref} is a farm, whose storage zone is its own; make one that both share"
            " (`arable storage-zone create`)",
            field="storage_zone",
        )
    return found


def _check_zone(call: Call, farm: Farm, change: FarmChange) -> None:
    """What its machines have on disks is where it is: the storage zone of a farm stays."""
    if change.storage_zone is UNSET:
        return
    found = References(call.tx).storage_zone(farm.account, farm.zone, change.storage_zone)
    if found != farm.reaches:
        raise Conflict(
            f"{farm.name} keeps the storage zone that it was made with; make another farm with that one",
            field="storage_zone",
        )


def update(call: Call, farm: FarmId, change: FarmChange) -> FarmMadeOut:
    """The document is changed, and the farm with it; one without a document gets its first."""
    call.caller.needs(Permission.FARM_WRITE)
    found = farms.get(call.tx, call.caller.scope, farm)
    check_home(call, farm)
    quotas.hold(call.tx, found.account)
    before = farm_documents.held(call.tx, farm)
    check_expected(call, before.generation if before else found.generation, "farm")
    if found.name == DEFAULT:
        raise Conflict("the default farm is filled by hand; lay out another one")
    _check_zone(call, found, change)
    if before is not None and before.state is not FarmState.READY:
        raise Conflict(f"{found.name} was deleted; it goes when all that it made is gone")
    spec = farm_tiers.spec_of(before) if before else FarmSpec()
    said = {name: value for name in _SPEC if (value := getattr(change, name)) is not UNSET}
    return _laid_out(call, found, structs.replace(spec, **said), before, "update")


def delete(call: Call, farm: FarmId) -> OperationOut:
    """It leaves with all that it made: elements are drained and go, then networks, then the farm."""
    call.caller.needs(Permission.FARM_WRITE)
    found = farms.get(call.tx, call.caller.scope, farm)
    check_may_go(call, farm)
    quotas.hold(call.tx, found.account)
    before = farm_documents.held(call.tx, farm)
    check_expected(call, before.generation if before else found.generation, "farm")
    if found.name == DEFAULT or before is None:
        raise Conflict(f"{found.name} has no document; what is in it goes by hand")
    if before.state is not FarmState.READY:
        raise Conflict(f"{found.name} was deleted already; it goes when all that it made is gone")
    operation = let_go(call, found)
    return shown(operations.get(call.tx, Scope(account=found.account), operation))


def let_go(call: Call, found: Farm) -> OperationId:
    """A farm with a document, which is not yet leaving, leaves. Whoever calls holds the account's limits."""
    farm = found.id
    before = farm_documents.held(call.tx, farm)
    assert before is not None, "it has a document"
    _check_by_hand(call, found)
    operation = begin(call, "farm.delete", farm, found.account, done=False)
    _supersede(call, before, operation)
    document = before.changed(
        call.around.clock.now(),
        spec={},
        state=FarmState.LEAVING,
        attention=True,
        operation=operation.id,
        told="",
    )
    farm_documents.save(call.tx, document)
    tell(call, found.account, "farm.leaving", farm, f"{found.name}: deleted")
    farm_regions.let_go(call, found)
    clear(call, found)
    return operation.id


def rotate_keys(call: Call, farm: FarmId) -> OperationOut:
    """The VPNs to its networks in other regions get other keys; done when all go by them."""
    call.caller.needs(Permission.FARM_WRITE)
    found = farms.get(call.tx, call.caller.scope, farm)
    check_home(call, farm)
    quotas.hold(call.tx, found.account)
    before = farm_documents.held(call.tx, farm)
    check_expected(call, before.generation if before else found.generation, "farm")
    if before is not None and before.state is not FarmState.READY:
        raise Conflict(f"{found.name} was deleted; it goes when all that it made is gone")
    if before is None or not farm_regions.rotate(farm_layout.acting(call, found), found):
        raise Conflict(f"{found.name} has no networks that are joined to others in other regions")
    operation = begin(call, "farm.rotate-keys", farm, found.account, done=False)
    _supersede(call, before, operation)
    now = call.around.clock.now()
    document = before.changed(now, operation=operation.id, attention=True, told="")
    farm_documents.save(call.tx, document)
    return shown(operations.get(call.tx, Scope(account=found.account), operation.id))


def clear(call: Call, farm: Farm) -> bool:
    """Let go what a farm's document no longer says and nothing needs any more; with the last of it, one that was deleted.

    Whoever calls holds nothing of the farm yet. True when nothing is left to be let go; until then it is to be asked again.
    """
    quotas.hold(call.tx, farm.account)
    document = farm_documents.held(call.tx, farm.id)
    if document is None:
        return True
    by_farm = farm_layout.acting(call, farm)
    zone = zones.get(call.tx, farm.zone)
    cleared = Layout(by_farm, farm, zone, farm_regions.home_part(call.tx, document)).clear()
    cleared = farm_regions.clear(by_farm, farm) and cleared
    if cleared:
        came_blueprints.sweep(call, farm.account)
    if not cleared or document.state is FarmState.READY:
        return cleared
    if not farm_documents.is_empty(call.tx, farm.id):
        return False
    came_volumes.drop(call.tx, farm.id)
    storage_zones.clear(call.tx, StorageZoneId(farm.id), call.around.clock.now())
    farm_documents.forget(call.tx, farm.id)
    if document.operation is not None:
        operations.finish(call.tx, document.operation, call.around.clock.now())
    tell(call, farm.account, "farm.gone", farm.id, f"{farm.name}: gone")
    return True


def _laid_out(
    call: Call, farm: Farm, spec: FarmSpec, before: FarmDocument | None, verb: str
) -> FarmMadeOut:
    acting, is_new = farm_layout.acting(call, farm), verb == "create"
    zone = zones.get(call.tx, farm.zone)
    steps = farm_regions.lay_out(acting, farm, zone, spec, is_new=is_new)
    kept = msgspec.json.decode(msgspec.json.encode(spec))
    if before is not None and farm_layout.signs(steps) <= {"="} and before.spec == kept:
        operation = begin(call, "farm.update", farm.id, farm.account, done=True)
        return _made(call, farm, operation, steps)
    if before is None:
        found = tiers.of_farms(call.tx, [farm.id]).get(farm.id, [])
        operation = _begun(call, farm.id, found, farm.account, f"farm.{verb}")
        now = call.around.clock.now()
        document = FarmDocument(
            farm=farm.id, spec=kept, operation=operation.id, attention=True, changed_at=now
        )
        farm_documents.add(call.tx, document)
    else:
        operation = _followed(call, farm.account, before, kept)
        found = tiers.of_farms(call.tx, [farm.id]).get(farm.id, [])
    farm_tiers.tell_fetches(call, found, operation.id)
    kind = "farm.created" if verb == "create" else "farm.changed"
    about = ", ".join(f"{each.sign} {each.what} {each.name}" for each in steps if each.sign != "=")
    tell(call, farm.account, kind, farm.id, f"{farm.name}: {about or 'laid out anew'}"[:1000])
    if before is None and is_new:  # all that there is of it is known
        elsewhere = store_regions.of(call.tx, [farm.id])
        known = _Known({farm.id: document}, {farm.id: found}, {}, {}, elsewhere, {})
        return FarmMadeOut(operation=operation.id, farm=_shape(farm, known), steps=list(steps))
    return _made(call, farm, operation, steps)


def following(call: Call, before: FarmDocument, spec: FarmSpec) -> str:
    """The document says this from now on; the operation that is done when its tiers are so. Whoever calls holds it."""
    account = farms.get(call.tx, call.caller.scope, before.farm).account
    return _followed(call, account, before, msgspec.json.decode(msgspec.json.encode(spec))).id


def _followed(
    call: Call, account: AccountId, before: FarmDocument, kept: Mapping[str, Any]
) -> Operation:
    found = rollouts.followed(call, before.farm)
    there = tiers.of_farms(call.tx, [before.farm]).get(before.farm, [])
    operation = _begun(call, before.farm, there, account, "farm.update", len(found))
    rollouts.follow(call, found, operation)
    _supersede(call, before, operation)
    document = before.changed(
        call.around.clock.now(), spec=kept, operation=operation.id, attention=True, told=""
    )
    farm_documents.save(call.tx, document)
    return operation


def _begun(
    call: Call,
    farm: FarmId,
    found: Sequence[Tier],
    account: AccountId,
    kind: str,
    rolling: int = 0,
) -> Operation:
    """Done already where there are no elements, and are to be none. Each rollout is a part of it."""
    waits = rolling or any(tier.count or tier.leaving for tier in found)
    waits = waits or store_regions.any_of(call.tx, farm)
    return begin(call, kind, farm, account, done=not waits, parts=1 + rolling)


def _supersede(call: Call, before: FarmDocument, by: Operation) -> None:
    """Nobody waits for the change before any more."""
    if before.operation is not None:
        error = Conflict(
            f"superseded: {by.kind} was asked for before this was done",
            why={"superseded_by": by.id},
        )
        operations.fail(call.tx, before.operation, call.around.clock.now(), error)


def _check_by_hand(call: Call, farm: Farm) -> None:
    """A farm that is deleted holds nothing that it did not make."""
    if count := farm_documents.by_hand(call.tx, [farm.id]).get(farm.id, 0):
        raise Conflict(
            f"{farm.name} holds {count} machines that were deployed by hand; destroy and expunge them first",
            why={"machines": count},
        )
    made = set(farm_documents.parts(call.tx, farm.id).values())
    where = NetworkFilter(farm=farm.id, account=farm.account)
    there = networks.page(call.tx, Scope(account=farm.account), where, limit=1000)
    if names := [each.name for each in there if each.id not in made and each.name != each.id]:
        raise Conflict(
            f"{farm.name} holds networks that were made by hand; delete them first: {', '.join(names)}",
            why={"networks": names},
        )


def _made(
    call: Call, farm: Farm, operation: Operation, steps: Sequence[FarmStepOut]
) -> FarmMadeOut:
    return FarmMadeOut(operation=operation.id, farm=_shapes(call, [farm])[0], steps=list(steps))


@dataclass(frozen=True, slots=True)
class _Known:
    """What is shown of farms besides their rows."""

    documents: Mapping[FarmId, FarmDocument]
    tiers: Mapping[FarmId, Sequence[Tier]]
    serving: Mapping[TierId, int]
    by_hand: Mapping[FarmId, int]
    elsewhere: Mapping[FarmId, Sequence[FarmPart]]
    homes: Mapping[FarmId, Partner]


def _shapes(call: Call, found: Sequence[Farm]) -> list[FarmOut]:
    ids = [each.id for each in found]
    rows = tiers.of_farms(call.tx, ids)
    known = _Known(
        documents=farm_documents.of(call.tx, ids),
        tiers=rows,
        serving=tiers.serving(call.tx, [tier.id for each in rows.values() for tier in each]),
        by_hand=farm_documents.by_hand(call.tx, ids),
        elsewhere=store_regions.of(call.tx, ids),
        homes=store_regions.homes(call.tx, ids),
    )
    return [_shape(farm, known) for farm in found]


def _shape(farm: Farm, known: _Known) -> FarmOut:
    document = known.documents.get(farm.id)
    return FarmOut(
        id=farm.id,
        account=farm.account,
        zone=farm.zone,
        name=farm.name,
        state=document.state.value if document else "ready",
        spec=_spec(document),
        tiers=[
            FarmTierOut(
                id=tier.id,
                name=tier.name,
                blueprint=tier.blueprint,
                blueprint_version=tier.blueprint_number,
                image_version=tier.image_version,
                least=tier.least,
                most=tier.most,
                count=tier.count,
                serving=known.serving.get(tier.id, 0),
                leaving=tier.leaving,
                told=tier.told,
            )
            for tier in _ordered(known.tiers.get(farm.id, ()), document)
        ],
        by_hand=known.by_hand.get(farm.id, 0),
        storage_zone=farm.reaches,
        operation=document.operation if document else None,
        told=document.told if document else "",
        regions=tuple(map(farm_regions.shown, known.elsewhere.get(farm.id, ()))),
        home=_home(known.homes.get(farm.id)),
        generation=document.generation if document else farm.generation,
        created_at=farm.created_at,
    )


def _home(partner: Partner | None) -> FarmHomeOut | None:
    return None if partner is None else FarmHomeOut(region=partner.region, farm=partner.home)


def _ordered(found: Sequence[Tier], document: FarmDocument | None) -> list[Tier]:
    """As the document has them; those that it no longer names last."""
    said = [each["name"] for each in document.spec.get("tiers", [])] if document else []
    return sorted(found, key=lambda tier: said.index(tier.name) if tier.name in said else len(said))


def _spec(document: FarmDocument | None) -> dict[str, Any] | None:
    return dict(document.spec) if document else None
