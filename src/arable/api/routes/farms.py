"""Farms over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import farms
from arable.wire.farms import FarmQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/farms",
        does=farms.page,
        permission=Permission.MACHINE_READ,
        writes=False,
        summary="List farms",
        query=FarmQuery,
    ),
    Op(
        method="GET",
        path="/v1/farms/{farm}",
        does=farms.get,
        permission=Permission.MACHINE_READ,
        writes=False,
        summary="Show a farm",
    ),
)
