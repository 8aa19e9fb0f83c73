"""Farms with tiers in several regions, at their home: the document is laid out here, and its parts are wished elsewhere.

Each other region that a document names has a row (`farm_region`) that says what the farm is to be there, with a version.
`controllers/farm_regions.py` tells it, again and again until it is so; what is answered is kept here (`heard`). So a
region that can't be reached holds up nothing but its own part.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network
from typing import Any

import msgspec

from arable.domain.errors import BadInput
from arable.domain.farm import Farm, FarmDocument, FarmState, PartKind
from arable.domain.farm_part import FarmPart, PartState, again_after
from arable.domain.grid import PeerState
from arable.domain.ids import FarmId, NetworkId
from arable.domain.network import NetworkState
from arable.domain.region import next_version
from arable.domain.zone import Zone
from arable.services import farm_blueprints, farm_links, farm_tiers
from arable.services.asks import tell
from arable.services.call import Call
from arable.services.farm_layout import POOL, PREFIX, Layout
from arable.services.farm_spread import HOME, End, Ends, Spread, allotted, joined, spread
from arable.store import (
    farm_documents,
    farm_regions,
    grid,
    grid_members,
    networks,
    public_ranges,
    sent_volumes,
    zones,
)
from arable.store.columns import micros, moment
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.wire.farms import (
    FarmPartSpec,
    FarmRegionOut,
    FarmRegionTierOut,
    FarmSpec,
    FarmStepOut,
)
from arable.wire.grid import FarmPartOut
from arable.wire.regions import IN_NO_GRID

_NONE = timedelta(0)


def lay_out(
    call: Call, farm: Farm, zone: Zone, spec: FarmSpec, *, is_new: bool = False
) -> list[FarmStepOut]:
    """The farm as its document says: here at once, elsewhere as a wish. `call` is the farm's own. Says each step.

    `is_new`: it was made in this transaction.
    """
    if isinstance(spec, FarmPartSpec):
        layout = Layout(call, farm, zone, spec, is_new=is_new)
        layout.run()
        return layout.steps
    farm_tiers.check(farm.name, spec)
    made = spread(spec, _own(call.tx))
    rows = {} if is_new else farm_regions.held(call.tx, farm.id)
    _check_regions(call, made)
    cidrs = _allotted(call, farm, made, rows)
    keys = _keys(call, rows)
    part = joined(farm.name, made, HOME, cidrs, _ends(rows), keys)
    layout = Layout(call, farm, zone, part, _elsewhere(made, cidrs), is_new=is_new)
    layout.run()
    made = farm_blueprints.sent(call, farm, made, rows)
    return layout.steps + _wish(call, farm, made, cidrs, rows, keys)


def home_part(tx: Tx, document: FarmDocument) -> FarmPartSpec:
    """What the farm is to be in this region, without what is known of other ends."""
    spec = farm_tiers.spec_of(document)
    return spec if isinstance(spec, FarmPartSpec) else spread(spec, _own(tx)).parts[HOME]


def let_go(call: Call, farm: Farm) -> None:
    """It was deleted: its parts elsewhere are to go, too."""
    for part in farm_regions.held(call.tx, farm.id).values():
        if not part.gone:
            farm_regions.put(call.tx, _next(call, part, {}, gone=True))
    sent_volumes.wake(call.tx, farm.account, call.around.clock.now())


def clear(call: Call, farm: Farm) -> bool:
    """Whether nothing is left elsewhere of what is to go. What was in a region that is no more is not waited for."""
    left = False
    for part in farm_regions.held(call.tx, farm.id).values():
        if part.gone and _is_lost(call.tx, part.region):
            farm_regions.drop(call.tx, part)
            told = (
                f"{farm.name}: {part.region} is not in the grid any more; what is there is its own"
            )
            tell(call, farm.account, "farm.part-lost", farm.id, told)
        else:
            left = left or part.gone
    return not left


def heard(call: Call, farm: Farm, region: str, said: FarmPartOut) -> None:
    """Keep what a region answered; `call` is the farm's own. Ends of links that are new are passed on to whoever needs them."""
    part = farm_regions.held(call.tx, farm.id).get(region)
    if part is None:
        return
    now = call.around.clock.now()
    state = PartState(said.state) if said.state in set(PartState) else PartState.CHANGING
    if part.gone and state is PartState.GONE and said.version >= part.version:
        farm_regions.drop(call.tx, part)
        tell(call, farm.account, "farm.part-gone", farm.id, f"{farm.name}: gone from {region}")
        return
    but: dict[str, Any] = {"heard_at": now, "tries": 0, "told": said.told}
    if (
        said.version > part.version
    ):  # one of the two stores was set back: what is wished here counts
        but["version"] = next_version(said.version, micros(now))
        but |= {"acked": said.version, "state": PartState.WAITS, "due_at": now}
    elif state in (PartState.UNKNOWN, PartState.REFUSED) or said.version < part.version:
        refused = state is PartState.REFUSED
        but |= {"acked": 0, "state": PartState.REFUSED if refused else PartState.WAITS}
        but["due_at"] = now + (again_after(state, 0) if refused else _NONE)
    else:
        state = PartState.LEAVING if part.gone else state
        but |= {"acked": part.version, "state": state, "due_at": now + again_after(state, 0)}
    if state not in (PartState.UNKNOWN, PartState.REFUSED):
        but["seen"] = msgspec.to_builtins(said)
    kept = replace(part, **but)
    if kept.turns:
        kept = replace(kept, due_at=min(kept.due_at, now + again_after(PartState.CHANGING, 0)))
    if kept.due_at <= now:
        farm_regions.put(call.tx, kept)
    else:
        farm_regions.note(call.tx, kept)
    if kept.state is PartState.READY and part.state is not PartState.READY:
        tell(
            call,
            farm.account,
            "farm.part-ready",
            farm.id,
            f"{farm.name}: as it should be in {region}",
        )
    if kept.turns or part.turns or _ends({region: kept}) != _ends({region: part}):
        _join(call, farm)


def unheard(tx: Tx, part: FarmPart, told: str, at: datetime) -> None:
    """Its region could not be asked."""
    now = farm_regions.held(tx, part.farm).get(part.region)
    if now is not None and now.version == part.version:
        tries = now.tries + 1
        again = at + again_after(now.state, tries)
        farm_regions.note(tx, replace(now, tries=tries, told=told, due_at=again))


def shown(part: FarmPart) -> FarmRegionOut:
    """As it looks outside."""
    seen = msgspec.convert(part.seen, FarmPartOut) if part.seen else None
    if part.gone:
        state = PartState.LEAVING
    elif part.acked != part.version and part.state is not PartState.REFUSED:
        state = PartState.WAITS
    else:
        state = part.state
    return FarmRegionOut(
        region=part.region,
        state=state.value if state in _SHOWN else "waits",  # type: ignore[arg-type]
        told=part.told,
        farm=seen.here or None if seen else None,
        tiers=[
            FarmRegionTierOut(
                name=each.name, count=each.count, serving=each.serving, told=each.told
            )
            for each in (seen.tiers if seen else ())
        ],
        heard_at=part.heard_at,
    )


_SHOWN = {PartState.WAITS, PartState.REFUSED, PartState.CHANGING, PartState.READY, PartState.LEAVING}  # fmt: skip


def rotate(call: Call, farm: Farm) -> bool:
    """Its links are to have other keys; `call` is the farm's own. False: it has no links to other regions."""
    rows = farm_regions.held(call.tx, farm.id)
    if all(part.keyed_at is None for part in rows.values()):
        return False
    _join(call, farm, max(_keys(call, rows) + 1, _seconds(call)))
    tell(call, farm.account, "farm.keys-rotated", farm.id, f"{farm.name}: other keys for its links")
    return True


def _keys(call: Call, rows: Mapping[str, FarmPart]) -> int:
    """As which its links' keys count: the second when these were asked for."""
    return max((part.spec.get("keys", 0) for part in rows.values()), default=0) or _seconds(call)


def _seconds(call: Call) -> int:
    return micros(call.around.clock.now()) // 1_000_000


def _own(tx: Tx) -> str:
    link = grid_members.link(tx)
    return link.region if link else ""


def _is_lost(tx: Tx, region: str) -> bool:
    if grid_members.link(tx) is None:
        return True
    known = {each.name: each.state for each in grid.peers(tx)}
    return known.get(region, PeerState.GONE) is PeerState.GONE


def _check_regions(call: Call, made: Spread) -> None:
    """Raises `BadInput` for a region that can't be asked ever; one that can't be now is waited for."""
    elsewhere = set(made.parts) - {HOME}
    if not elsewhere:
        return
    known = {each.name: each for each in grid.peers(call.tx)}
    for number, tier in enumerate(made.spec.tiers):
        region = made.at[tier.name]
        field = f"tiers.{number}.region"
        if region == HOME:
            continue
        if not made.own:
            raise BadInput(f"{IN_NO_GRID}, so there are no other regions", field=field)
        if region not in known or known[region].state is PeerState.GONE:
            raise BadInput(f"the grid has no region named {region}", field=field)
        if not known[region].url:
            raise BadInput(
                f"{region} has no grid port, so it can't be asked from here", field=field
            )


def _elsewhere(made: Spread, cidrs: Mapping[str, str]) -> list[IPv4Network]:
    return [IPv4Network(cidr) for name, cidr in cidrs.items() if made.networks[name] != HOME]


def _allotted(call: Call, farm: Farm, made: Spread, rows: Mapping[str, FarmPart]) -> dict[str, str]:
    if _is_here(made, rows):  # what meets no other is found where networks are made
        return {each.name: each.cidr for each in made.spec.networks if each.cidr}
    here = _here(call.tx, farm.id)
    known = {name: cidr for name, cidr in here.items() if made.networks.get(name) == HOME}
    for region, part in rows.items():
        said = {each["name"]: each["cidr"] for each in part.spec.get("networks", ())}
        known |= {name: cidr for name, cidr in said.items() if made.networks.get(name) == region}
    taken = [
        IPv4Network(each.cidr)
        for each in networks.of_account(call.tx, farm.account, farm.zone)
        if each.state is NetworkState.READY
    ]
    taken += [IPv4Network(each.cidr) for each in public_ranges.of_zone(call.tx, farm.zone)]
    return allotted(made, known, taken, POOL.subnets(new_prefix=PREFIX))


def _is_here(made: Spread, rows: Mapping[str, FarmPart]) -> bool:
    """Whether nothing of it is elsewhere, nor was."""
    return not rows and set(made.parts) <= {HOME}


def _here(tx: Tx, farm: FarmId) -> dict[str, str]:
    """The subnets of the farm's networks in this region, by what the document calls them."""
    made = {
        NetworkId(id_): name
        for (kind, name), id_ in farm_documents.parts(tx, farm).items()
        if kind is PartKind.NETWORK
    }
    return {made[id_]: each.cidr for id_, each in networks.by_ids(tx, list(made)).items()}


def _ends(rows: Mapping[str, FarmPart]) -> Ends:
    """What other regions told of their ends."""
    return {
        (region, each["name"]): End(
            each["key"], each["endpoint"], each.get("next_key"), each.get("known")
        )
        for region, part in rows.items()
        if not part.gone
        for each in part.seen.get("links", ())
    }


def _wish(
    call: Call,
    farm: Farm,
    made: Spread,
    cidrs: Mapping[str, str],
    rows: Mapping[str, FarmPart],
    keys: int,
) -> list[FarmStepOut]:
    """What the farm is to be elsewhere, kept; and each step of it."""
    if _is_here(made, rows):
        return []
    steps = []
    cidrs = {**cidrs, **_here_of(call, farm, made)}
    ends = dict(_ends(rows))
    ends |= {
        (HOME, each.name): End(each.key, each.endpoint, each.next_key, each.known)
        for each in farm_links.ends(call.tx, farm.id)
    }
    for region, part in rows.items():
        if region not in made.parts and not part.gone:
            farm_regions.put(call.tx, _next(call, part, {}, gone=True))
            steps.append(_step("-", region, "let go there"))
    for region in made.parts:
        if region == HOME:
            continue
        wanted = joined(farm.name, made, region, cidrs, ends, keys)
        spec = msgspec.json.decode(msgspec.json.encode(wanted))
        before = rows.get(region)
        about = f"{_many(len(wanted.networks), 'network')}, {_many(len(wanted.tiers), 'tier')}"
        if before is not None and not before.gone and before.spec == spec:
            steps.append(_step("=", region, about))
            continue
        if before is None:
            now = call.around.clock.now()
            before = FarmPart(
                farm=farm.id, region=region, account=farm.account, version=0, spec={}, due_at=now
            )
        steps.append(_step("~" if region in rows else "+", region, about))
        keyed_at = moment(wanted.keys * 1_000_000) if wanted.links else None
        wish = replace(_next(call, before, spec, gone=False), keyed_at=keyed_at)
        farm_regions.put(call.tx, wish)
    if any(step.sign != "=" for step in steps):
        sent_volumes.wake(call.tx, farm.account, call.around.clock.now())
    return steps


def _here_of(call: Call, farm: Farm, made: Spread) -> dict[str, str]:
    found = _here(call.tx, farm.id)
    return {name: cidr for name, cidr in found.items() if made.networks.get(name) == HOME}


def _next(call: Call, part: FarmPart, spec: Mapping[str, Any], *, gone: bool) -> FarmPart:
    now = call.around.clock.now()
    version = next_version(part.version, micros(now))
    return replace(
        part, version=version, spec=spec, gone=gone, state=PartState.WAITS, told="", tries=0, due_at=now, keyed_at=None
    )  # fmt: skip


def _join(call: Call, farm: Farm, keys: int = 0) -> None:
    """Something is new about ends of links: the farm's own VPNs are told of it, and other regions. `keys`: they get others."""
    document = farm_documents.held(call.tx, farm.id)
    if document is None or document.state is not FarmState.READY:
        return
    made, rows = (
        spread(farm_tiers.spec_of(document), _own(call.tx)),
        farm_regions.held(call.tx, farm.id),
    )
    made = farm_blueprints.kept(made, rows)
    cidrs = _allotted(call, farm, made, rows)
    keys = keys or _keys(call, rows)
    spec = joined(farm.name, made, HOME, cidrs, _ends(rows), keys)
    Layout(call, farm, zones.get(call.tx, farm.zone), spec).join()
    _wish(call, farm, made, cidrs, rows, keys)
    nudge(call.tx, farm_regions.TOPIC)


def _step(sign: str, region: str, about: str) -> FarmStepOut:
    return FarmStepOut(sign=sign, what="region", name=region, about=about)  # type: ignore[arg-type]


def _many(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"
