"""Placement groups over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import groups
from arable.wire.groups import GroupIn, GroupQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/groups",
        does=groups.page,
        permission=Permission.MACHINE_READ,
        writes=False,
        summary="List placement groups",
        query=GroupQuery,
    ),
    Op(
        method="POST",
        path="/v1/groups",
        does=groups.create,
        permission=Permission.MACHINE_WRITE,
        writes=True,
        summary="Create a placement group",
        takes=GroupIn,
        status=201,
        example={"name": "db", "rule": "apart"},
    ),
    Op(
        method="GET",
        path="/v1/groups/{group}",
        does=groups.get,
        permission=Permission.MACHINE_READ,
        writes=False,
        summary="Show a placement group",
    ),
    Op(
        method="DELETE",
        path="/v1/groups/{group}",
        does=groups.delete,
        permission=Permission.MACHINE_WRITE,
        writes=True,
        conditions=False,
        summary="Delete an empty placement group",
        status=204,
    ),
)
