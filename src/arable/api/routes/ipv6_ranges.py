"""Ranges of IPv6 over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import ipv6_ranges
from arable.wire.ipv6_ranges import Ipv6RangeIn, Ipv6RangeQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/ipv6-ranges",
        does=ipv6_ranges.page,
        permission=Permission.INFRA_READ,
        writes=False,
        query=Ipv6RangeQuery,
        summary="List ranges of IPv6",
    ),
    Op(
        method="POST",
        path="/v1/ipv6-ranges",
        does=ipv6_ranges.create,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=Ipv6RangeIn,
        status=201,
        summary="Add a range of IPv6",
        example={
            "zone": "east",
            "cidr": "2001:db8:100::/48",
            "gateway": "2001:db8:100::1",
        },
    ),
    Op(
        method="GET",
        path="/v1/ipv6-ranges/{prefix}",
        does=ipv6_ranges.get,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show a range of IPv6",
    ),
    Op(
        method="DELETE",
        path="/v1/ipv6-ranges/{prefix}",
        does=ipv6_ranges.delete,
        permission=Permission.INFRA_WRITE,
        writes=True,
        conditions=False,
        status=204,
        summary="Remove a range of which no network has a prefix",
    ),
)
