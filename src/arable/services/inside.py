"""What programs inside a farm may ask, as the element that they are in: to know it, and for more or less of it.

A caller from inside is made here and nowhere else: of the place from which it asks, which its router's host vouches for,
and of a token. It has its blueprint's rights, cut down to the token's, and no others; whatever it asks is looked up anew
by its own element, so that a machine that was replaced asks for nothing any more.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from arable.domain.access import EVERYTHING, Caller, Permission, Rank
from arable.domain.blueprint import Body
from arable.domain.element import Element
from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound, Unauthenticated
from arable.domain.ids import ElementId, HostId, MachineId, NetworkId, UserId
from arable.domain.inside import Right, permissions
from arable.domain.volume import Volume
from arable.runtime import element_tokens
from arable.services import agents, resizing, tiers
from arable.services.asks import tell
from arable.services.belonging import FARM
from arable.services.call import Call, Surroundings
from arable.store import accounts, farms, inside, quotas, tier_loads, volumes
from arable.store import tiers as kept
from arable.store.database import Tx
from arable.wire.inside import (
    InsideDiskOut,
    InsideTierOut,
    InsideTokenIn,
    InsideTokenOut,
    OwnDiskIn,
    OwnDiskOut,
    OwnTierIn,
    OwnTierOut,
    SelfOut,
)
from arable.wire.tiers import TierChange
from arable.wire.volumes import ResizeVolumeIn

ROLE = "element"


@dataclass(frozen=True, slots=True)
class Place:
    """From where is asked: `host` says so, with a certificate of that epoch."""

    host: HostId
    epoch: int
    network: NetworkId
    address: str


def caller(tx: Tx, around: Surroundings, place: Place, token: str | None) -> Caller:
    """Who is at that place; without a token, one that may ask for one and nothing else.

    Raises `NotFound` where no element is that has any rights, `Unauthenticated` for a token that is not its own.
    """
    agents.known(tx, place.host, place.epoch)
    found = inside.at(tx, place.host, place.network, place.address)
    rights = inside.made_of(tx, found).body.control if found else ()
    if found is None or found.machine is None or not rights:
        raise NotFound("this machine may not ask: its blueprint gives it no `control`")
    may: frozenset[Permission] = frozenset()
    if token is not None:
        said = element_tokens.read(around.authority, token, around.clock.now())
        if (said.element, said.machine) != (found.id, found.machine):
            raise element_tokens.refused()
        may = permissions(set(said.rights) & set(rights))
    account = accounts.get(tx, EVERYTHING, found.account)
    return Caller(
        user=UserId(found.id),
        name=_name(tx, found),
        account=found.account,
        domain=account.domain,
        path="",  # who sees one account alone has no need of it
        role=ROLE,
        rank=Rank.READER,
        permissions=may,
        via=found.machine,
        source=place.address,
    )


def token(call: Call, ask: InsideTokenIn) -> InsideTokenOut:
    """A token of the machine that asks, for some minutes."""
    element, body = _own(call)
    wanted = body.control
    if ask.rights is not None:
        wanted = tuple(Right(each) for each in dict.fromkeys(ask.rights))
        if beyond := sorted(set(wanted) - set(body.control)):
            raise Forbidden(f"its blueprint does not give {', '.join(beyond)}", field="rights")
    until = (call.around.clock.now() + timedelta(seconds=ask.seconds)).replace(microsecond=0)
    made = element_tokens.issue(
        call.around.authority, element.id, MachineId(call.caller.via), wanted, until
    )
    return InsideTokenOut(token=made.reveal(), rights=[r.value for r in wanted], until=until)


def own(call: Call) -> SelfOut:
    """Who one is, what else is in the farm, and what one's tier bears."""
    call.caller.needs(Permission.FARM_CONTROL)
    element, body = _own(call)
    of_farm = kept.of_farms(call.tx, [element.farm])[element.farm]
    serving = kept.serving(call.tx, [tier.id for tier in of_farm])
    (tier,) = (tier for tier in of_farm if tier.id == element.tier)
    load = tier_loads.known(call.tx, [tier], call.around.clock.now()).get(tier.id)
    return SelfOut(
        element=element.id,
        name=call.caller.name,
        number=element.number,
        state=element.state.value,
        farm=farms.names(call.tx, [element.farm])[element.farm],
        tier=tier.name,
        least=tier.least,
        most=tier.most,
        count=tier.count,
        serving=serving.get(tier.id, 0),
        load=tiers.shown_load(load),
        tiers=[
            InsideTierOut(name=each.name, count=each.count, serving=serving.get(each.id, 0))
            for each in of_farm
        ],
        disks=[InsideDiskOut(name=name, mib=disk.mib) for name, disk in _disks(call, body).items()],
        rights=[right.value for right in body.control],
    )


def scale(call: Call, ask: OwnTierIn) -> OwnTierOut:
    """So many elements in one's own tier, within its bounds. The farm's document says the same from then on."""
    call.caller.needs(Permission.FARM_SCALE)
    if (ask.count is None) == (ask.more is None):
        raise BadInput("say `count` or `more`, one of both", field="count")
    quotas.hold(call.tx, call.caller.account)  # whoever changes tiers by hand waits here
    element, _ = _own(call)
    count = ask.count
    if count is None:
        tier = kept.get(call.tx, call.caller.scope, element.tier)
        count = tier.count + (ask.more or 0)
        if not tier.least <= count <= tier.most:
            raise BadInput(f"{count} is not from {tier.least} to {tier.most}", field="more")
    by_farm = _by_farm(call, Permission.FARM_READ, Permission.FARM_WRITE)
    made = tiers.update(by_farm, element.tier, TierChange(count=count))
    _tell(call, element, f"asked for {count} elements of {made.tier.name}")
    return OwnTierOut(count=made.tier.count, operation=made.operation)


def grow(call: Call, ask: OwnDiskIn) -> OwnDiskOut:
    """A further disk of one's own machine becomes larger, within the account's limits."""
    call.caller.needs(Permission.FARM_GROW)
    element, body = _own(call)
    found = _disks(call, body).get(ask.disk)
    if found is None:
        raise NotFound(f"this machine has no disk {ask.disk}", field="disk")
    by_farm = _by_farm(
        call, Permission.VOLUME_READ, Permission.VOLUME_WRITE, Permission.MACHINE_WRITE
    )
    made = resizing.resize(by_farm, found.id, ResizeVolumeIn(mib=ask.mib))
    _tell(call, element, f"asked for {ask.mib} MiB of {found.name}")
    return OwnDiskOut(disk=ask.disk, mib=ask.mib, operation=made.id)


def _own(call: Call) -> tuple[Element, Body]:
    """The caller's element as it is now, and what it is made of."""
    found = inside.living(call.tx, ElementId(call.caller.user), MachineId(call.caller.via))
    if found is None:
        raise Unauthenticated("this element has another machine by now, or none")
    return found, inside.made_of(call.tx, found).body


def _disks(call: Call, body: Body) -> dict[str, Volume]:
    """Its further disks, by what its blueprint calls them."""
    machine = MachineId(call.caller.via)
    further = [disk for disk in volumes.of_machines(call.tx, [machine])[machine] if disk.position]
    further.sort(key=lambda disk: disk.position or 0)
    if len(further) != len(body.disks):  # somebody has attached others by hand
        raise Conflict("this machine has other disks than its blueprint says")
    return {part.name: disk for part, disk in zip(body.disks, further, strict=True)}


def _by_farm(call: Call, *may: Permission) -> Call:
    """The same call by the farm itself, for what it has made: with these rights and no others."""
    acting = replace(call.caller, permissions=frozenset(may), rank=Rank.CUSTOMER, via=FARM)
    return replace(call, caller=acting, expects=None)


def _tell(call: Call, element: Element, what: str) -> None:
    text = f"{call.caller.name}: {what}"
    tell(call, element.account, "element.asked", element.id, text)


def _name(tx: Tx, element: Element) -> str:
    tier = kept.get(tx, EVERYTHING, element.tier)
    farm = farms.names(tx, [element.farm])[element.farm]
    return f"{farm}-{tier.name}-{element.number}"
