"""What goes with a farm's parts in other regions, beside its document: blueprints' versions, and which texts its secrets have.

A part's wish (`farm_region.spec`) says all of it but the texts, which are sealed where they are and said in the call alone.
When another version of a blueprint is published that a tier there follows, or a secret has another text, the wishes that
say the old one are said anew. Nothing here knows other use cases, so that those can call it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import msgspec
from msgspec import structs

from arable.domain import template
from arable.domain.access import EVERYTHING
from arable.domain.blueprint import Blueprint, BlueprintVersion, Body
from arable.domain.errors import Conflict
from arable.domain.farm_part import FarmPart, PartState
from arable.domain.farm_secret import FarmSecret
from arable.domain.ids import FarmId
from arable.domain.region import next_version
from arable.services import sent_volumes
from arable.services.call import Call
from arable.store import (
    accounts,
    farm_documents,
    farm_regions,
    farm_secrets,
    farms,
    images,
    offerings,
)
from arable.store import sent_volumes as kept_volumes
from arable.store.columns import micros
from arable.store.database import Tx
from arable.wire.blueprints import BlueprintVersionIn
from arable.wire.farm_secrets import FarmSecretIn
from arable.wire.farms import FarmBlueprintIn, FarmPartSpec, FarmSpec, FarmVolumeIn

_SECRET = "secret."  # noqa: S105 - how a word begins


def document(tx: Tx, of: Blueprint, version: BlueprintVersion) -> FarmBlueprintIn:
    """The version as another region reads it: what it names it names by name. Raises `NotFound` for what is not there any more."""
    body = version.body
    image = images.named_of(tx, body.image)
    return FarmBlueprintIn(
        id=of.id,
        name=of.name,
        number=version.number,
        digest=_digest(body),
        image_account=accounts.path_of(tx, image.account),
        image_public=image.public,
        says=_said(tx, body, image.name),
    )


def spec_of(part: FarmPart) -> FarmPartSpec:
    """What it should be."""
    return msgspec.convert(part.spec, FarmPartSpec)


def with_secrets(tx: Tx, farm: FarmId, spec: FarmPartSpec, names: Iterable[str]) -> FarmPartSpec:
    """The same with those of the farm's secrets that its blueprints ask for, and no others: a region is told what it needs."""
    asked = {
        word.removeprefix(_SECRET)
        for each in spec.blueprints
        for word in template.words(each.says.user_data)
        if word.startswith(_SECRET)
    }
    wanted = [name for name in names if name in asked]
    there = farm_secrets.of_farm(tx, farm, wanted)
    return structs.replace(
        spec,
        secrets=tuple(FarmSecretIn(name=name, given=True) for name in wanted),
        texts={name: there[name].number if name in there else 0 for name in wanted},
    )


def published(call: Call, of: Blueprint, version: BlueprintVersion) -> None:
    """There is another version: tiers elsewhere that get it by themselves are to be made of it."""
    tx = call.tx
    for part in farm_regions.made_of(tx, of.id, None if of.public else of.account):
        kept = farm_documents.of(tx, [part.farm]).get(part.farm)
        if part.gone or kept is None:
            continue
        said = msgspec.convert(kept.spec, FarmSpec)
        follow = {
            each.name
            for each in said.tiers
            if each.automatic and each.version == "newest" and each.blueprint in (of.name, of.id)
        }
        spec = spec_of(part)
        if not follow & {each.name for each in spec.tiers if each.blueprint == of.name}:
            continue
        tiers = tuple(
            structs.replace(each, version=version.number)
            if each.name in follow and each.blueprint == of.name
            else each
            for each in spec.tiers
        )
        used = {(each.blueprint, each.version) for each in tiers}
        every = (*spec.blueprints, document(tx, of, version))
        goes = tuple(each for each in every if (each.name, each.number) in used)
        now = structs.replace(spec, tiers=tiers, blueprints=goes)
        farm = farms.get(tx, EVERYTHING, part.farm)
        now = sent_volumes.with_volumes(tx, farm, now, call.around.clock.now())
        names = [each if isinstance(each, str) else each.name for each in said.secrets]
        _say(tx, part, with_secrets(tx, part.farm, now, names), call.around.clock.now())
        kept_volumes.wake(tx, part.account, call.around.clock.now())


def rotated(tx: Tx, secret: FarmSecret, at: datetime) -> None:
    """It has another text: regions that know the one before are told."""
    for part in farm_regions.held(tx, secret.farm).values():
        if part.gone or secret.name not in part.spec.get("texts", ()):
            continue
        spec = spec_of(part)
        texts = {**spec.texts, secret.name: secret.number}
        _say(tx, part, structs.replace(spec, texts=texts), at)


def copied(tx: Tx, part: FarmPart, said: FarmVolumeIn, at: datetime) -> None:
    """More is known of a volume that it reads: its region is told, unless it was."""
    spec = spec_of(part)
    now = sent_volumes.again(spec, said)
    if now != spec:
        _say(tx, part, now, at)


def check_unused(tx: Tx, of: Blueprint) -> None:
    """Raises `Conflict` for a blueprint of which tiers in other regions are made."""
    parts = farm_regions.made_of(tx, of.id, None if of.public else of.account)
    if parts:
        mine = [each for each in parts if each.account == of.account]
        names = farms.names(tx, {each.farm for each in mine})
        where = ", ".join(f"{names[each.farm]} in {each.region}" for each in mine[:5])
        raise Conflict(f"tiers in other regions are made of it{': ' if where else ''}{where}")


def _say(tx: Tx, part: FarmPart, spec: FarmPartSpec, at: datetime) -> None:
    said = msgspec.json.decode(msgspec.json.encode(spec))
    version = next_version(part.version, micros(at))
    wish = replace(
        part, version=version, spec=said, state=PartState.WAITS, told="", tries=0, due_at=at
    )
    farm_regions.put(tx, wish)


def _digest(body: Body) -> str:
    """Of what never changes at home: the version with the ids that it has there."""
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()


def _said(tx: Tx, body: Body, image: str) -> BlueprintVersionIn:
    said = msgspec.to_builtins(body)
    said["image"] = image
    said["offering"] = offerings.get(tx, body.offering).name
    for disk, part in zip(said["disks"], body.disks, strict=True):
        disk["offering"] = offerings.get_disk(tx, part.offering).name
    canary = body.update.canary
    said["update"]["canary"] = canary if canary.endswith("%") else int(canary or 0)
    said["ports"] = [{"port": each.port, "protocol": each.traffic.value} for each in body.ports]
    return msgspec.convert(said, BlueprintVersionIn)
