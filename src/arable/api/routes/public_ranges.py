"""Ranges of public addresses over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import public_ranges
from arable.wire.public_ranges import PublicRangeIn, PublicRangeQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/public-ranges",
        does=public_ranges.page,
        permission=Permission.INFRA_READ,
        writes=False,
        query=PublicRangeQuery,
        summary="List ranges of public addresses",
    ),
    Op(
        method="POST",
        path="/v1/public-ranges",
        does=public_ranges.create,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=PublicRangeIn,
        status=201,
        summary="Add a range of public addresses",
        example={
            "zone": "east",
            "cidr": "198.51.100.0/24",
            "gateway": "198.51.100.1",
            "first": "198.51.100.10",
            "last": "198.51.100.250",
            "vlan": 901,
        },
    ),
    Op(
        method="GET",
        path="/v1/public-ranges/{range}",
        does=public_ranges.get,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show a range of public addresses",
    ),
    Op(
        method="DELETE",
        path="/v1/public-ranges/{range}",
        does=public_ranges.delete,
        permission=Permission.INFRA_WRITE,
        writes=True,
        conditions=False,
        status=204,
        summary="Remove a range of which no address is taken",
    ),
)
