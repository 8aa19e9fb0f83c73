"""What the tiers of a farm's parts elsewhere are made of: the blueprints of home, which go with them (0053).

Which version it is is decided at home, as for a tier of its own, and said by number; so is nothing of it the other region's
to choose. A blueprint that home does not have is that region's own of the same name.
"""

from collections.abc import Mapping
from dataclasses import replace

from msgspec import structs

from arable.domain.blueprint import BlueprintVersion
from arable.domain.errors import BadInput, NotFound
from arable.domain.farm import Farm
from arable.domain.farm_part import FarmPart
from arable.domain.ids import OfferingId, kind_of
from arable.services import blueprints as blueprints_
from arable.services import farm_secrets, farm_tiers, farm_wishes, sent_volumes
from arable.services.call import Call
from arable.services.farm_spread import HOME, Spread
from arable.store import blueprints, offerings
from arable.wire.farms import FarmBlueprintIn, FarmPartSpec
from arable.wire.tiers import TierIn


def sent(call: Call, farm: Farm, made: Spread, rows: Mapping[str, FarmPart]) -> Spread:
    """The same with the blueprints that go with each part elsewhere, and the secrets that those ask for.

    Raises what is refused, naming the field of the document.
    """
    places = {tier.name: number for number, tier in enumerate(made.spec.tiers)}
    parts = dict(made.parts)
    for region, part in made.parts.items():
        if region != HOME:
            before = rows.get(region)
            known = farm_wishes.spec_of(before) if before and not before.gone else FarmPartSpec()
            parts[region] = _part(call, farm, made, part, known, places)
    return replace(made, parts=parts)


def kept(made: Spread, rows: Mapping[str, FarmPart]) -> Spread:
    """The same as it was sent last: of a document that did not change."""
    parts = dict(made.parts)
    for region, part in made.parts.items():
        before = rows.get(region)
        if region != HOME and before is not None and not before.gone:
            said = farm_wishes.spec_of(before)
            parts[region] = structs.replace(
                part,
                tiers=said.tiers,
                blueprints=said.blueprints,
                secrets=said.secrets,
                texts=said.texts,
                volumes=said.volumes,
            )
    return replace(made, parts=parts)


def _part(
    call: Call,
    farm: Farm,
    made: Spread,
    part: FarmPartSpec,
    known: FarmPartSpec,
    places: Mapping[str, int],
) -> FarmPartSpec:
    tiers: list[TierIn] = []
    goes: dict[tuple[str, int], FarmBlueprintIn] = {}
    versions: list[tuple[TierIn, BlueprintVersion]] = []
    for tier in part.tiers:
        field = f"tiers.{places[tier.name]}"
        found = _version(call, farm, tier, known, field)
        if found is None:
            tiers.append(tier)
            continue
        document, version = found
        if any(each.name == document.name and each.id != document.id for each in goes.values()):
            raise BadInput(
                f"another blueprint named {document.name} goes there already",
                field=f"{field}.blueprint",
            )
        goes[document.name, document.number] = document
        said = structs.replace(
            tier,
            blueprint=document.name,
            version=document.number,
            automatic=tier.automatic and tier.image_version == "newest",
            offering=_offering(call, tier),
        )
        tiers.append(said)
        sent_volumes.check(call.tx, farm, document.says.reads, f"{field}.blueprint")
        versions.append((said, version))
    names = farm_secrets.names(made.spec.secrets)
    whole = structs.replace(part, tiers=tuple(tiers), blueprints=tuple(goes.values()))
    whole = farm_wishes.with_secrets(call.tx, farm.id, whole, names)
    whole = sent_volumes.with_volumes(call.tx, farm, whole, call.around.clock.now())
    for tier, version in versions:
        farm_tiers.check_version(whole, tier, version, f"tiers.{places[tier.name]}")
    return whole


def _version(
    call: Call, farm: Farm, tier: TierIn, known: FarmPartSpec, field: str
) -> tuple[FarmBlueprintIn, BlueprintVersion] | None:
    """The version that it is made of: as is said, else as it is by now, else the newest. None: home has no such blueprint."""
    where = f"{field}.blueprint"
    try:
        found = blueprints_.named(call, farm.account, tier.blueprint, where)
    except NotFound:
        if kind_of(tier.blueprint) == "blueprint":
            raise
        return None
    if found.home:
        raise BadInput(f"it came with a farm of {found.home}, and goes no further", field=where)
    number = tier.version
    if number is None:
        same = {each.number for each in known.blueprints if each.id == found.id}
        of = {each.name: each.version for each in known.tiers if each.blueprint == found.name}
        number = of.get(tier.name)
        number = number if number in same else None
    if number is None or number == "newest":
        number = found.newest
    there = blueprints.versions(call.tx, [found.id])[found.id]
    if number not in there:
        raise BadInput(
            f"{found.name} has no version {number}; its newest is {found.newest}",
            field=f"{field}.version",
        )
    version = there[number]
    try:
        return farm_wishes.document(call.tx, found, version), version
    except NotFound as error:
        raise NotFound(error.public, field=where) from None


def _offering(call: Call, tier: TierIn) -> str | None:
    """By its name: ids are of this region."""
    if tier.offering is None or kind_of(tier.offering) != "offering":
        return tier.offering
    return offerings.get(call.tx, OfferingId(tier.offering)).name
