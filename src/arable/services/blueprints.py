"""What one may ask of blueprints: accounts make them, and use their own and the public ones."""

from collections.abc import Sequence
from dataclasses import asdict

from arable.domain import blueprint as domain
from arable.domain import ids
from arable.domain.access import Permission, Rank, Scope
from arable.domain.balancer import Check, Traffic
from arable.domain.blueprint import (
    Blueprint,
    BlueprintVersion,
    Body,
    DiskPart,
    Keeps,
    PortPart,
    Update,
)
from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound
from arable.domain.ids import AccountId, BlueprintId
from arable.domain.image import Image
from arable.domain.inside import ALL, Right
from arable.domain.seed import unpacked
from arable.services import farm_wishes
from arable.services.asks import check_expected, tell
from arable.services.call import Call
from arable.services.pages import paged
from arable.services.references import References
from arable.store import blueprints, tiers
from arable.store.blueprints import BlueprintFilter
from arable.wire.balancers import CheckOut
from arable.wire.blueprints import (
    BlueprintIn,
    BlueprintOut,
    BlueprintQuery,
    BlueprintVersionIn,
    BlueprintVersionOut,
    DiskPartOut,
    KeepsOut,
    PortPartOut,
    UpdateOut,
)
from arable.wire.common import Page

_GENTLE = Update(surge=0, unavailable=1)
"""Where volumes are kept: an element more would have none of them."""


def create(call: Call, ask: BlueprintIn) -> BlueprintOut:
    """A new blueprint of the caller's account, with its first version."""
    call.caller.needs(Permission.FARM_WRITE)
    if ask.public and call.caller.rank < Rank.OPERATOR:
        raise Forbidden("only operators make blueprints public")
    now = call.around.clock.now()
    made = Blueprint(
        id=BlueprintId(call.around.ids.new("blueprint")),
        account=call.caller.account,
        name=ask.name,
        public=ask.public,
        newest=1,
        created_at=now,
    )
    blueprints.add(call.tx, made)
    blueprints.add_version(
        call.tx,
        BlueprintVersion(
            blueprint=made.id, number=1, body=body_of(call, made, ask), created_at=now
        ),
    )
    tell(call, made.account, "blueprint.created", made.id, f"{made.name}: created")
    return _shown(call, made)


def page(call: Call, query: BlueprintQuery) -> Page[BlueprintOut]:
    """Blueprints to use, by age."""
    call.caller.needs(Permission.FARM_READ)
    where = BlueprintFilter(
        name=query.name,
        account=AccountId(query.account) if query.account else None,
        public=query.public,
    )
    scope = call.caller.scope
    found = blueprints.page(call.tx, scope, where, after=query.after, limit=query.limit + 1)
    versions = blueprints.versions(call.tx, [each.id for each in found])
    return paged(found, query, lambda each: _shape(each, versions.get(each.id, {})))


def get(call: Call, blueprint: BlueprintId) -> BlueprintOut:
    """One to use."""
    call.caller.needs(Permission.FARM_READ)
    return _shown(call, blueprints.get(call.tx, call.caller.scope, blueprint))


def create_version(call: Call, blueprint: BlueprintId, ask: BlueprintVersionIn) -> BlueprintOut:
    """The next version. Tiers stay what they are made of until they are told otherwise."""
    call.caller.needs(Permission.FARM_WRITE)
    before = blueprints.own(call.tx, call.caller.scope, blueprint)
    if before.home:
        raise Conflict(
            f"it came with a farm of {before.home}, where its versions are made; make one of your own here"
        )
    check_expected(call, before.generation, "blueprint")
    after = before.changed(newest=before.newest + 1)
    blueprints.save(call.tx, after)
    version = BlueprintVersion(
        blueprint=after.id,
        number=after.newest,
        body=body_of(call, after, ask),
        created_at=call.around.clock.now(),
    )
    blueprints.add_version(call.tx, version)
    told = f"{after.name}: version {after.newest}"
    tell(call, after.account, "blueprint.published", after.id, told)
    tiers.published(call.tx, blueprint=after.id)
    farm_wishes.published(call, after, version)
    return _shown(call, after)


def delete(call: Call, blueprint: BlueprintId) -> None:
    """Only when no tier is made of it."""
    call.caller.needs(Permission.FARM_WRITE)
    found = blueprints.own(call.tx, call.caller.scope, blueprint)
    check_expected(call, found.generation, "blueprint")
    farm_wishes.check_unused(call.tx, found)
    blueprints.remove(call.tx, found)
    tell(call, found.account, "blueprint.deleted", found.id, f"{found.name}: deleted")


def named(call: Call, account: AccountId, ref: str, field: str) -> Blueprint:
    """The account's own, or a public one. Raises `NotFound` naming the field."""
    scope = Scope(account=account)
    try:
        if ids.kind_of(ref) == "blueprint":
            return blueprints.get(call.tx, scope, BlueprintId(ref))
        return blueprints.by_name(call.tx, scope, ref)
    except NotFound as error:
        raise NotFound(error.public, field=field) from None


def _canary(said: int | str) -> str:
    text = str(said)
    return text if text.endswith("%") else text.lstrip("0")


def body_of(call: Call, of: Blueprint, ask: BlueprintVersionIn, image: Image | None = None) -> Body:
    """What a version of it says, its names resolved; of that image, if one is given. Raises what is refused, naming the field."""
    if unpacked(ask.user_data) != ask.user_data:
        told = "a blueprint's is said as text, not packed: words in it are filled in"
        raise BadInput(told, field="user_data")
    found = References(call.tx)
    image = image or _image(call, of, ask, found)
    if of.public and not image.public:
        raise Forbidden(f"{of.name} is for every account, and {image.name} is not")
    update = _GENTLE if ask.keeps.volumes else Update()
    if ask.update is not None:
        update = Update(
            surge=ask.update.surge,
            unavailable=ask.update.unavailable,
            bake_seconds=ask.update.bake_seconds,
            errors_percent=ask.update.errors_percent,
            failures=ask.update.failures,
            canary=_canary(ask.update.canary),
            canary_seconds=ask.update.canary_seconds,
        )
    body = Body(
        image=image.id,
        offering=found.offering(ask.offering).id,
        user_data=ask.user_data,
        disks=tuple(
            DiskPart(
                name=disk.name,
                offering=found.disk_offering(disk.offering, f"disks.{at}.offering").id,
                mib=disk.mib,
            )
            for at, disk in enumerate(ask.disks)
        ),
        reads=ask.reads,
        ports=tuple(PortPart(port=each.port, traffic=Traffic(each.protocol)) for each in ask.ports),
        check=Check(
            kind=Traffic(ask.check.kind),
            path=ask.check.path,
            lowest_status=ask.check.lowest_status,
            highest_status=ask.check.highest_status,
            interval=ask.check.interval,
            timeout=ask.check.timeout,
            rise=ask.check.rise,
            fall=ask.check.fall,
        ),
        keeps=Keeps(address=ask.keeps.address, volumes=ask.keeps.volumes),
        update=update,
        control=_rights(ask.control),
        ready_seconds=ask.ready_seconds,
        drain_seconds=ask.drain_seconds,
    )
    return domain.checked(body)


def _image(call: Call, of: Blueprint, ask: BlueprintVersionIn, found: References) -> Image:
    try:
        return found.image(of.account, ask.image)
    except NotFound:
        return found.fetched(call.around, of.account, ask.image, None).image


def _rights(said: bool | Sequence[str]) -> tuple[Right, ...]:
    """Each once, in their order."""
    if isinstance(said, bool):
        return ALL if said else ()
    return tuple(right for right in ALL if right.value in said)


def _shown(call: Call, blueprint: Blueprint) -> BlueprintOut:
    versions = blueprints.versions(call.tx, [blueprint.id])
    return _shape(blueprint, versions.get(blueprint.id, {}))


def _shape(blueprint: Blueprint, versions: dict[int, BlueprintVersion]) -> BlueprintOut:
    return BlueprintOut(
        id=blueprint.id,
        account=blueprint.account,
        name=blueprint.name,
        public=blueprint.public,
        home=blueprint.home or None,
        versions=[_version(each) for each in versions.values()],
        generation=blueprint.generation,
        created_at=blueprint.created_at,
    )


def _version(version: BlueprintVersion) -> BlueprintVersionOut:
    body = version.body
    return BlueprintVersionOut(
        number=version.number,
        image=body.image,
        offering=body.offering,
        user_data=body.user_data,
        disks=[DiskPartOut(name=d.name, offering=d.offering, mib=d.mib) for d in body.disks],
        reads=list(body.reads),
        ports=[PortPartOut(port=each.port, protocol=each.traffic) for each in body.ports],
        check=CheckOut(**asdict(body.check)),
        keeps=KeepsOut(**asdict(body.keeps)),
        update=UpdateOut(**asdict(body.update)),
        control=[right.value for right in body.control],
        ready_seconds=body.ready_seconds,
        drain_seconds=body.drain_seconds,
        created_at=version.created_at,
    )
