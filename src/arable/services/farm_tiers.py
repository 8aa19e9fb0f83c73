"""Tiers as documents say them: checked, resolved to ids, and compared with those that are there."""

from collections.abc import Mapping, Sequence
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from arable.domain import template
from arable.domain.access import EVERYTHING, Scope
from arable.domain.balancer import BalancerKind, Traffic
from arable.domain.blueprint import Blueprint, BlueprintVersion
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.farm import Farm, FarmDocument
from arable.domain.ids import ImageId, NetworkId, OfferingId, OperationId, TierId
from arable.domain.image import Image
from arable.domain.scaling import Metric, Policy, Step, Target, Window
from arable.domain.tier import Body, Door, Follows, Tier
from arable.services import blueprints as blueprints_
from arable.services import catalogue, farm_doors, farm_secrets
from arable.services.call import Call
from arable.services.references import References
from arable.store import blueprints, images
from arable.wire.farms import FarmPartSpec, FarmSpec
from arable.wire.tiers import PolicyIn, TierIn, WindowIn

LONGEST = 63
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPANS = {"daily": range(7), "mon-fri": range(5), "sat-sun": range(5, 7)}


def spec_of(document: FarmDocument) -> FarmSpec:
    """As it was asked for; of a part of another region's farm a `FarmPartSpec`."""
    return msgspec.convert(document.spec, FarmPartSpec if "links" in document.spec else FarmSpec)


def check(farm: str, spec: FarmSpec) -> None:
    """Raises `BadInput` for what can't be, whatever is there: names that mean nothing, or two things."""
    try:
        ZoneInfo(spec.time_zone)
    except (KeyError, ValueError, OSError):
        raise BadInput("there is no such time zone", field="time_zone") from None
    networks = _once([each.name for each in spec.networks], "networks")
    _once(farm_secrets.names(spec.secrets), "secrets")
    tiers = _once([each.name for each in spec.tiers], "tiers")
    for at, network in enumerate(spec.networks):
        check_fits(f"{farm}-{network.name}", f"networks.{at}.name")
    isolated = {each.name for each in spec.networks if each.isolated}
    first = {}
    for at, tier in enumerate(spec.tiers):
        _check_tier(farm, tier, networks, f"tiers.{at}")
        first[tier.name] = tier.networks[0]
    for at, passage in enumerate(spec.passages):
        for end in ("source", "to"):
            if getattr(passage, end) not in tiers:
                raise BadInput("the farm has no such tier", field=f"passages.{at}.{end}")
    called: dict[tuple[str, int], str] = {}
    for at, passage in enumerate(spec.passages):
        if passage.protocol == "udp":
            continue
        to = called.setdefault((first[passage.to], passage.port), passage.to)
        if to != passage.to:
            raise BadInput(
                f"{to} is called at this port of the same network", field=f"passages.{at}.port"
            )
        check_fits(f"{farm}-{passage.to}-{passage.port}-inner", f"passages.{at}.to")
    if isinstance(spec, FarmPartSpec):
        _check_part(spec, first, called)
    ports: set[tuple[str, int]] = set()
    for at, way in enumerate(spec.ways_in):
        if way.tier not in tiers:
            raise BadInput("the farm has no such tier", field=f"ways_in.{at}.tier")
        home = first[way.tier]
        if home in isolated:
            raise BadInput(f"{home} is isolated: it has no way in", field=f"ways_in.{at}.tier")
        if (home, way.port) in ports:
            raise BadInput(f"another way in has this port of {home}", field=f"ways_in.{at}.port")
        ports.add((home, way.port))
    led_to = {each.tier for each in farm_doors.of(spec) if each.kind is not BalancerKind.PROBE}
    for at, tier in enumerate(spec.tiers):
        if tier.standby and tier.name not in led_to:
            raise BadInput(
                "nobody calls it: it has no way in, and no passage", field=f"tiers.{at}.standby"
            )


def _check_part(
    spec: FarmPartSpec, first: Mapping[str, str], called: dict[tuple[str, int], str]
) -> None:
    """What another region says of its part here is looked at as closely as what anybody says."""
    for at, each in enumerate(spec.called):
        if each.tier not in first:
            raise BadInput("the farm has no such tier", field=f"called.{at}.tier")
        if each.protocol == "tcp":
            to = called.setdefault((first[each.tier], each.port), each.tier)
            if to != each.tier:
                raise BadInput(
                    f"{to} is called at this port of the same network", field=f"called.{at}.port"
                )
    names = {each.name for each in spec.networks}
    _once([each.name for each in spec.links], "links")
    for at, link in enumerate(spec.links):
        if link.near not in names:
            raise BadInput("the farm has no such network", field=f"links.{at}.near")


def _check_tier(farm: str, tier: TierIn, networks: set[str], field: str) -> None:
    for number, name in enumerate(tier.networks):
        if name not in networks:
            raise BadInput("the farm has no such network", field=f"{field}.networks.{number}")
    _once(list(tier.networks), f"{field}.networks")
    most = most_of(tier)
    for longest in (str(most), "probe"):
        check_fits(f"{farm}-{tier.name}-{longest}", f"{field}.name")
    if tier.least > most:
        raise BadInput(f"at least {tier.least}, and at most {most}?", field=f"{field}.most")
    if tier.count is not None and not tier.least <= tier.count <= most:
        raise BadInput(f"not from {tier.least} to {most}", field=f"{field}.count")
    for at, window in enumerate(tier.windows):
        if window.least > most:
            raise BadInput(f"more than {most}, the most", field=f"{field}.windows.{at}.least")
    if tier.automatic and "newest" not in (tier.version, tier.image_version):
        raise BadInput(
            "it follows nothing: say `version: newest`, or `image_version: newest`, too",
            field=f"{field}.automatic",
        )
    if tier.policy is not None and not (tier.policy.targets or tier.policy.steps):
        raise BadInput("a policy has targets, or steps, or both", field=f"{field}.policy")


def most_of(tier: TierIn) -> int:
    """More elements it never has."""
    return tier.most if tier.most is not None else max(tier.least, tier.count or 0)


def _once(names: Sequence[str], field: str) -> set[str]:
    for at, name in enumerate(names):
        if name in names[:at]:
            raise BadInput(f"{name} is there already", field=f"{field}.{at}")
    return set(names)


def check_fits(name: str, field: str) -> None:
    """Raises `BadInput` for a name that is longer than any can be."""
    if len(name) > LONGEST:
        raise BadInput(f"{name} would be longer than {LONGEST} characters", field=field)


def blueprint_of(
    call: Call, farm: Farm, tier: TierIn, before: Tier | None, field: str
) -> tuple[Blueprint, BlueprintVersion]:
    """What its elements are made of: the version that is said, else the one that it has, else the newest."""
    found = blueprints_.named(call, farm.account, tier.blueprint, f"{field}.blueprint")
    if before is not None and before.blueprint != found.id:
        raise Conflict(
            f"{tier.name} is made of another blueprint; a tier of this one needs another name",
            field=f"{field}.blueprint",
        )
    if tier.version is None or tier.version == "newest":
        number = before.blueprint_number if before and tier.version is None else found.newest
    else:
        number = tier.version
    there = blueprints.versions(call.tx, [found.id])[found.id]
    if number not in there:
        raise BadInput(
            f"{found.name} has no version {number}; its newest is {found.newest}",
            field=f"{field}.version",
        )
    return found, there[number]


def wanted(
    call: Call,
    farm: Farm,
    spec: FarmSpec,
    tier: TierIn,
    version: BlueprintVersion,
    networks: Mapping[str, NetworkId],
    doors: tuple[Door, ...],
    before: Tier | None,
    field: str,
) -> Tier:
    """The tier as it should be kept: a new one, or the next generation; the very same when nothing changes."""
    found = References(call.tx)
    image = _image_of(call, farm, version, f"{field}.blueprint")
    follows, number = _followed(tier, before, version)
    try:
        image_version = found.version(image, number, f"{field}.image_version").number
    except NotFound:
        elsewhere = found.catalogued(call.around, farm.account, image.name, number)
        if elsewhere is None or elsewhere.image.id != image.id:
            raise
        catalogue.begin(call.tx, call.around, elsewhere)
        image_version = elsewhere.version.number
    offering = (
        None
        if tier.offering is None
        else OfferingId(found.offering(tier.offering, f"{field}.offering").id)
    )
    for at, key in enumerate(spec.ssh_keys):
        found.ssh_key(farm.account, key, f"ssh_keys.{at}")
    check_version(spec, tier, version, field)
    body = Body(
        networks=tuple(networks[name] for name in tier.networks),
        doors=doors,
        offering=offering,
        keys=spec.ssh_keys,
        follows=follows,
        newest=tier.version == "newest",
        policy=None if tier.policy is None else _policy(tier.policy),
        windows=tuple(_window(each) for each in tier.windows),
        time_zone=spec.time_zone,
        standby=tier.standby,
    )
    most = most_of(tier)
    if before is None:
        return Tier(
            id=TierId(call.around.ids.new("tier")),
            farm=farm.id,
            account=farm.account,
            zone=farm.zone,
            name=tier.name,
            blueprint=version.blueprint,
            blueprint_number=version.number,
            image=image.id,
            image_version=image_version,
            least=tier.least,
            most=most,
            count=tier.least if tier.count is None else tier.count,
            body=body,
            automatic=tier.automatic,
            created_at=call.around.clock.now(),
        )
    if before.leaving:
        raise Conflict(f"{tier.name} is still leaving; wait until it has", field=f"{field}.name")
    if before.body.networks != body.networks:
        raise Conflict(
            f"{tier.name} has other networks; a tier on these needs another name",
            field=f"{field}.networks",
        )
    count = before.count
    if tier.policy is None and tier.count is not None:
        count = tier.count
    but: dict[str, Any] = {
        "blueprint_number": version.number,
        "image": ImageId(image.id),
        "image_version": image_version,
        "least": tier.least,
        "most": most,
        "count": min(max(count, tier.least), most),
        "body": body,
        "automatic": tier.automatic,
    }
    if all(getattr(before, name) == value for name, value in but.items()):
        return before
    return before.changed(**but, attention=True, again_at=None, tries=0)


def _image_of(call: Call, farm: Farm, version: BlueprintVersion, field: str) -> Image:
    """The blueprint's, which its owner may have taken back since."""
    try:
        return images.get(call.tx, Scope(account=farm.account), version.body.image)
    except NotFound:
        raise Conflict("the account can't use its image", field=field) from None


def _followed(
    tier: TierIn, before: Tier | None, version: BlueprintVersion
) -> tuple[Follows, int | None]:
    if tier.image_version == "newest":
        return Follows.NEWEST, None
    if tier.image_version is not None:
        return Follows.PINNED, int(tier.image_version)
    same = before is not None and before.image == version.body.image
    return Follows.ASKED, before.image_version if before is not None and same else None


def tell_fetches(call: Call, found: Sequence[Tier], operation: OperationId) -> None:
    """Whoever waits for a farm with these tiers is told of images that come from other regions."""
    for id_, number in sorted({(tier.image, tier.image_version) for tier in found}):
        there = images.versions(call.tx, [id_]).get(id_, [])
        for version in (each for each in there if each.number == number and each.arriving):
            wanted = catalogue.Wanted(images.get(call.tx, EVERYTHING, id_), version)
            begun = catalogue.begin(call.tx, call.around, wanted)
            assert begun, "it is on its way"
            catalogue.tell(call.tx, call.around, wanted, begun, operation, ends=False)


def check_version(spec: FarmSpec, tier: TierIn, version: BlueprintVersion, field: str) -> None:
    """Raises `BadInput` for a version that the document's farm can't have elements of."""
    _check_words(spec, version, field)
    _check_metrics(spec, tier, version, field)


def _check_words(spec: FarmSpec, version: BlueprintVersion, field: str) -> None:
    """A word that the farm has no answer to is refused now, not at boot."""
    tiers = {each.name for each in spec.tiers}
    if isinstance(spec, FarmPartSpec):  # of others it knows those that it may call
        tiers |= {name.tier for link in spec.links for name in link.names}
    secrets = set(farm_secrets.names(spec.secrets))
    for word in template.words(version.body.user_data):
        kind, _, rest = word.partition(".")
        name = rest.rpartition(".")[0]
        unknown = (
            rest not in secrets
            if kind == "secret"
            else kind == "tier" and name and name not in tiers
        )
        if unknown:
            raise BadInput(
                f"its user-data asks for {{{{{word}}}}}, which this farm does not have",
                field=f"{field}.blueprint",
            )


def _check_metrics(spec: FarmSpec, tier: TierIn, version: BlueprintVersion, field: str) -> None:
    """A policy by what nobody can tell is refused: it would never do anything."""
    policy = tier.policy
    if policy is None:
        return
    ways = [
        way
        for way in farm_doors.of(spec)
        if way.tier == tier.name and way.kind is not BalancerKind.PROBE
    ]
    http = any(way.traffic(version) is not Traffic.TCP for way in ways)
    said = [(f"targets.{at}", each.metric) for at, each in enumerate(policy.targets)]
    said += [(f"steps.{at}", each.metric) for at, each in enumerate(policy.steps)]
    for where, name in said:
        place, metric = f"{field}.policy.{where}.metric", Metric(name)
        if metric is Metric.REQUESTS and not http:
            raise BadInput("nobody calls it by HTTP: it has no way in, and no passage", field=place)
        if metric in (Metric.SESSIONS, Metric.RESPONSE) and not ways:
            raise BadInput("nobody calls it: it has no way in, and no passage", field=place)


def _policy(ask: PolicyIn) -> Policy:
    return Policy(
        targets=tuple(Target(metric=Metric(each.metric), value=each.value) for each in ask.targets),
        steps=tuple(
            Step(metric=Metric(each.metric), above=each.above, seconds=each.seconds, add=each.add)
            for each in ask.steps
        ),
        up_seconds=ask.up_seconds,
        down_seconds=ask.down_seconds,
    )


def _window(ask: WindowIn) -> Window:
    days = _SPANS.get(ask.days) or (_DAYS.index(ask.days),)
    return Window(
        days=tuple(days),
        begin=time.fromisoformat(ask.begin),
        end=time.fromisoformat(ask.end),
        least=ask.least,
        lead_seconds=ask.lead_seconds,
    )
