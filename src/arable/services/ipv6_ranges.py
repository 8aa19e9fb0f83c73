"""Ranges of IPv6, of which guest networks have a /64 each: what an operator may ask of them."""

from arable.domain.access import Permission
from arable.domain.guest_ipv6 import Ipv6Range, check_beside, check_range
from arable.domain.ids import Ipv6RangeId, ZoneId
from arable.services import zones
from arable.services.call import Call
from arable.services.pages import paged
from arable.services.zones import use_out
from arable.store import ipv6_ranges
from arable.store.ipv6_ranges import RangeFilter
from arable.store.zones import Use
from arable.wire.common import Page
from arable.wire.ipv6_ranges import Ipv6RangeIn, Ipv6RangeOut, Ipv6RangeQuery


def create(call: Call, ask: Ipv6RangeIn) -> Ipv6RangeOut:
    """IPv6 for a zone, or more of it."""
    call.caller.needs(Permission.INFRA_WRITE)
    zone = zones.named(call, ask.zone)
    made = check_range(
        Ipv6Range(
            id=Ipv6RangeId(call.around.ids.new("prefix")),
            zone=zone.id,
            cidr=ask.cidr,
            gateway=ask.gateway or "",
            created_at=call.around.clock.now(),
        )
    )
    check_beside(made, ipv6_ranges.every(call.tx))
    ipv6_ranges.add(call.tx, made)
    return _out(made, ipv6_ranges.use(call.tx, [made])[made.id])


def page(call: Call, query: Ipv6RangeQuery) -> Page[Ipv6RangeOut]:
    """Ranges by age."""
    call.caller.needs(Permission.INFRA_READ)
    where = RangeFilter(zone=ZoneId(query.zone) if query.zone else None)
    found = ipv6_ranges.page(call.tx, where, after=query.after, limit=query.limit + 1)
    use = ipv6_ranges.use(call.tx, found)
    return paged(found, query, lambda each: _out(each, use[each.id]))


def get(call: Call, range_: Ipv6RangeId) -> Ipv6RangeOut:
    """One range."""
    call.caller.needs(Permission.INFRA_READ)
    found = ipv6_ranges.get(call.tx, range_)
    return _out(found, ipv6_ranges.use(call.tx, [found])[found.id])


def delete(call: Call, range_: Ipv6RangeId) -> None:
    """Only when no network has a /64 of it."""
    call.caller.needs(Permission.INFRA_WRITE)
    ipv6_ranges.remove(call.tx, range_)


def _out(made: Ipv6Range, use: Use) -> Ipv6RangeOut:
    return Ipv6RangeOut(
        id=made.id,
        zone=made.zone,
        cidr=made.cidr,
        gateway=made.gateway or None,
        networks=use_out(use),
        created_at=made.created_at,
    )
