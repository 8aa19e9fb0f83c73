"""Blueprints that come with parts of other regions' farms: kept as the account's own here, beside those that it made (0053).

One is called NAME@REGION, which nobody can call one by hand: so none is overwritten, and none is taken for another. Its
versions have the numbers that they have at home, and never change. With the last tier that is made of it it goes.
"""

from dataclasses import replace

from msgspec import structs

from arable.domain.blueprint import Blueprint, BlueprintVersion
from arable.domain.errors import CloudError, Conflict, NotFound
from arable.domain.ids import AccountId, BlueprintId
from arable.domain.image import Image
from arable.services import blueprints as blueprints_
from arable.services import came_volumes, catalogue
from arable.services.asks import tell
from arable.services.call import Call
from arable.store import accounts, blueprints, images
from arable.wire.farms import FarmBlueprintIn, FarmPartSpec


def take(call: Call, region: str, spec: FarmPartSpec) -> FarmPartSpec:
    """The blueprints that came with it are here from now on, and its tiers name them by id. Whoever calls holds the
    account's limits. Raises what is refused, naming the blueprint.
    """
    taken: dict[str, BlueprintId] = {}
    for at, each in enumerate(spec.blueprints):
        try:
            taken[each.name] = _taken(call, region, each).id
        except CloudError as error:
            why = f"{error.field}: {error.public}" if error.field else error.public
            told = f"the blueprint {each.name}/{each.number} of {region} can't be had here: {why}"
            raise type(error)(told, field=f"blueprints.{at}") from error
    tiers = tuple(
        structs.replace(each, blueprint=taken.get(each.blueprint, each.blueprint))
        for each in spec.tiers
    )
    return structs.replace(spec, tiers=tiers, blueprints=(), texts={})


def sweep(call: Call, account: AccountId) -> None:
    """Those that nothing is made of any more go."""
    for gone in blueprints.sweep(call.tx, account):
        tell(call, account, "blueprint.deleted", gone.id, f"{gone.name}: no tier is made of it")


def _taken(call: Call, region: str, said: FarmBlueprintIn) -> Blueprint:
    tx, account = call.tx, call.caller.account
    now = call.around.clock.now()
    found = blueprints.came(tx, account, region, said.id)
    if found is None:
        found = Blueprint(
            id=BlueprintId(call.around.ids.new("blueprint")),
            account=account,
            name=f"{said.name}@{region}",
            home=region,
            home_id=said.id,
            created_at=now,
        )
        blueprints.add(tx, found)
    there = blueprints.versions(tx, [found.id]).get(found.id, {}).get(said.number)
    if there is not None:
        if there.origin != said.digest:
            raise Conflict("another one of that number came before; publish it as another version")
        return found
    body = blueprints_.body_of(call, found, said.says, _image(call, said))
    body = replace(body, reads=tuple(came_volumes.called(name, region) for name in body.reads))
    after = found.changed(newest=max(found.newest, said.number))
    blueprints.save(tx, after)
    blueprints.add_version(
        tx,
        BlueprintVersion(
            blueprint=found.id, number=said.number, body=body, origin=said.digest, created_at=now
        ),
    )
    told = f"{found.name}: version {said.number} came with a farm of {region}"
    tell(call, account, "blueprint.published", found.id, told)
    return after


def _image(call: Call, said: FarmBlueprintIn) -> Image:
    """The very image that home means, by whose it is: here already, or on its way from now on."""
    tx, mine, name = call.tx, call.caller.account, said.says.image
    if said.image_public:
        known = accounts.by_path(tx, said.image_account)
        owner = known.id if known is not None else accounts.eldest(tx)
    elif said.image_account == accounts.path_of(tx, mine):
        owner = mine
    else:
        raise NotFound("there is no such image", field="image")
    there = images.named(tx, owner, name)
    if there is not None and (there.public or owner == mine):
        return there
    wanted = catalogue.find(tx, call.around, mine, name, whose=said.image_account)
    if wanted is None:
        raise NotFound("no region has such an image", field="image")
    catalogue.begin(tx, call.around, wanted)
    return wanted.image
