"""Parts of other regions' farms that are here: made, changed and let go as their home says, and by it alone.

A part is an ordinary farm of the account of the same path, so its elements come from this region's hosts, and are kept,
scaled, healed and renewed here, whether the home region can be reached or not. What the home says has a version: what
is older than what is known came late, and what is the same is answered with how it stands; so a call may be lost, doubled
or overtaken. Whoever says it is a region by its certificate, and it is let in as for calls that are passed on (0034).
"""

from dataclasses import replace

import msgspec

from arable.domain.access import EVERYTHING
from arable.domain.errors import BadInput, CloudError, Conflict, NotFound
from arable.domain.farm import Farm, FarmState
from arable.domain.farm_part import Partner, PartState
from arable.domain.ids import AccountId
from arable.services import (
    came_blueprints,
    came_volumes,
    elsewhere,
    farm_links,
    farm_secrets,
    farms,
)
from arable.services.call import Call, Surroundings
from arable.store import audit, farm_documents, farm_regions, quotas, tiers, zones
from arable.store import farms as kept
from arable.store.database import Tx
from arable.wire.farms import FarmPartSpec
from arable.wire.grid import FarmPartIn, FarmPartOut, FarmPartTierOut

_MAY = ("farm:read", "farm:write")


def take(tx: Tx, around: Surroundings, region: str, ask: FarmPartIn) -> FarmPartOut:
    """One part, as the region `region` says. What is refused is told, and leaves nothing behind."""
    try:
        with tx.begin_nested():
            _take(tx, around, region, ask)
    except CloudError as error:
        told = f"{error.field}: {error.public}" if error.field else error.public
        known = farm_regions.partner(tx, region, ask.farm)
        return FarmPartOut(
            farm=ask.farm,
            version=min(known.version if known else 0, ask.version),
            state=PartState.REFUSED,
            told=told[:4096],
        )
    known = farm_regions.partner(tx, region, ask.farm)
    if known is not None and known.farm is not None and not known.gone:
        came_volumes.again(tx, around, known.farm)
    return stands(tx, region, ask.farm)


def stands(tx: Tx, region: str, home: str) -> FarmPartOut:
    """How it is."""
    known = farm_regions.partner(tx, region, home)
    if known is None:
        return FarmPartOut(farm=home, version=0, state=PartState.UNKNOWN)
    farm = _there(tx, known)
    if farm is None:
        state = PartState.GONE if known.gone else PartState.UNKNOWN
        return FarmPartOut(farm=home, version=known.version, state=state)
    document = farm_documents.of(tx, [farm.id])[farm.id]
    rows = tiers.of_farms(tx, [farm.id]).get(farm.id, [])
    serving = tiers.serving(tx, [each.id for each in rows])
    waits = ""
    if document.state is not FarmState.READY:
        state = PartState.LEAVING
    else:
        waits = came_volumes.waits(tx, farm.id)
        state = PartState.CHANGING if document.attention or waits else PartState.READY
    told = document.told or waits
    told = told or next((f"{each.name}: {each.told}" for each in rows if each.told), "")
    return FarmPartOut(
        farm=home,
        version=known.version,
        state=state,
        told=told,
        here=farm.id,
        tiers=tuple(
            FarmPartTierOut(
                name=each.name, count=each.count, serving=serving.get(each.id, 0), told=each.told
            )
            for each in sorted(rows, key=lambda each: each.name)
        ),
        links=tuple(farm_links.ends(tx, farm.id)),
    )


def _take(tx: Tx, around: Surroundings, region: str, ask: FarmPartIn) -> None:
    if ask.spec is None and not ask.gone:
        return
    if ask.gone and _remembered(tx, around, region, ask):
        return
    user = f"farm-{ask.name}"
    caller = elsewhere.vouched(tx, region, ask.account, user, _MAY, via=f"region:{region}")
    quotas.hold(tx, caller.account)  # nobody else changes farms of this account meanwhile
    known = farm_regions.partner(tx, region, ask.farm, lock=True)
    if known is not None and known.account not in ("", caller.account):
        raise Conflict("this farm's part here is of another account")
    if known is not None and ask.version < known.version:
        return
    farm = _there(tx, known) if known else None
    same = known is not None and (known.version, known.gone) == (ask.version, ask.gone)
    if same and (ask.gone or farm is not None):
        return
    call = Call(tx, caller, around)
    now = around.clock.now()
    if known is None:
        farm_regions.forget_partners(tx, now)
        known = Partner(
            region=region, home=ask.farm, account=caller.account, version=0, changed_at=now
        )
    if ask.gone:
        if farm is not None and not farm_documents.leaves(tx, farm.id):
            farms.let_go(call, farm)
    else:
        farm = _made(call, region, ask, farm)
    changed = replace(
        known,
        account=caller.account,
        farm=farm.id if farm else known.farm,
        version=ask.version,
        gone=ask.gone,
        changed_at=now,
    )
    farm_regions.put_partner(tx, changed)
    entry = audit.Entry(
        at=now,
        account=caller.account,
        user=caller.user,
        via=caller.via,
        source=caller.source,
        request="",
        action="farms.delete" if ask.gone else "farms.update",
        target=changed.farm or "",
        outcome="ok",
    )
    audit.add_many(tx, [entry])


def _remembered(tx: Tx, around: Surroundings, region: str, ask: FarmPartIn) -> bool:
    """Where there is nothing to be let go nobody has to be let in for it: it is known that it is gone, whatever comes late."""
    known = farm_regions.partner(tx, region, ask.farm, lock=True)
    now = around.clock.now()
    if known is None:
        known = Partner(
            region=region, home=ask.farm, account=AccountId(""), version=0, changed_at=now
        )
    if ask.version >= known.version and _there(tx, known) is None:
        gone = replace(known, version=ask.version, gone=True, changed_at=now)
        farm_regions.put_partner(tx, gone)
        return True
    return False


def _made(call: Call, region: str, ask: FarmPartIn, farm: Farm | None) -> Farm:
    try:
        spec = msgspec.convert(ask.spec, FarmPartSpec)
    except msgspec.ValidationError as error:
        raise BadInput(f"not what a farm can be: {error}") from error
    if farm is not None and farm_documents.leaves(call.tx, farm.id):
        raise Conflict(f"{ask.name} is still leaving; it is made anew when it has gone")
    taken = came_blueprints.take(call, region, spec)
    if farm is None:
        farm = farms.make(call, ask.name, taken)
    else:
        _check_zone(call.tx, farm, taken.zone)
        farms.change(call, farm, taken)
    came_volumes.take(call, region, farm, spec)
    farm_secrets.keep(call, farm, {each.name: each.text for each in ask.texts}, spec.texts)
    return farm


def _check_zone(tx: Tx, farm: Farm, said: str | None) -> None:
    """A farm stays where it is."""
    zone = zones.get(tx, farm.zone)
    if said not in (None, zone.id, zone.name):
        raise Conflict(
            f"it is in {zone.name}, and stays there; tiers in {said} need a farm of their own",
            field="zone",
        )


def _there(tx: Tx, known: Partner) -> Farm | None:
    if known.farm is None:
        return None
    try:
        return kept.get(tx, EVERYTHING, known.farm)
    except NotFound:
        return None
