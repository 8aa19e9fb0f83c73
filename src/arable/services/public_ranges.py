"""Ranges of public addresses: what an operator may ask of them."""

from ipaddress import IPv4Network

from arable.domain.access import Permission
from arable.domain.errors import Conflict
from arable.domain.ids import RangeId, ZoneId
from arable.domain.public_range import PublicRange, check_beside, check_range
from arable.services import zones
from arable.services.call import Call
from arable.services.pages import paged
from arable.services.zones import use_out
from arable.store import pods, public_ranges
from arable.store import zones as zone_rows
from arable.store.public_ranges import RangeFilter
from arable.wire.common import Page
from arable.wire.public_ranges import PublicRangeIn, PublicRangeOut, PublicRangeQuery


def create(call: Call, ask: PublicRangeIn) -> PublicRangeOut:
    """More public addresses for a zone."""
    call.caller.needs(Permission.INFRA_WRITE)
    zone = zones.named(call, ask.zone)
    made = PublicRange(
        id=RangeId(call.around.ids.new("range")),
        zone=zone.id,
        cidr=ask.cidr,
        gateway=ask.gateway,
        first=ask.first,
        last=ask.last,
        vlan=ask.vlan,
        created_at=call.around.clock.now(),
    )
    check_range(made)
    check_beside(made, public_ranges.of_zone(call.tx, zone.id))
    for cidr in pods.subnets(call.tx, zone.id):
        if IPv4Network(made.cidr).overlaps(IPv4Network(cidr)):
            raise Conflict(f"overlaps with {cidr}, the management subnet of a pod", field="cidr")
    if any(made.vlan in run for run in zone_rows.tags(call.tx, zone.id)):
        raise Conflict(f"VLAN {made.vlan} is one of the zone's guest VLANs", field="vlan")
    public_ranges.add(call.tx, made, call.around.ids.new)
    return _out(call, made)


def page(call: Call, query: PublicRangeQuery) -> Page[PublicRangeOut]:
    """Ranges by age."""
    call.caller.needs(Permission.INFRA_READ)
    where = RangeFilter(zone=ZoneId(query.zone) if query.zone else None)
    found = public_ranges.page(call.tx, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, lambda made: _out(call, made))


def get(call: Call, range_: RangeId) -> PublicRangeOut:
    """One range."""
    call.caller.needs(Permission.INFRA_READ)
    return _out(call, public_ranges.get(call.tx, range_))


def delete(call: Call, range_: RangeId) -> None:
    """Only when nobody has one of its addresses."""
    call.caller.needs(Permission.INFRA_WRITE)
    public_ranges.remove(call.tx, range_)


def _out(call: Call, made: PublicRange) -> PublicRangeOut:
    return PublicRangeOut(
        id=made.id,
        zone=made.zone,
        cidr=made.cidr,
        gateway=made.gateway,
        first=made.first,
        last=made.last,
        vlan=made.vlan,
        addresses=use_out(public_ranges.use_of(call.tx, made.id)),
        created_at=made.created_at,
    )
