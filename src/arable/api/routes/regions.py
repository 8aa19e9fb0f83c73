"""The grid and its regions over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import regions
from arable.wire.regions import GridTokenIn, JoinGridIn, RegionQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/regions",
        does=regions.page,
        permission=Permission.CATALOGUE_READ,
        writes=False,
        query=RegionQuery,
        summary="List regions of the grid",
        about="The grid manager answers as things are, a region as it was told; `as_of` says of when that is.",
    ),
    Op(
        method="GET",
        path="/v1/regions/{region}",
        does=regions.get,
        permission=Permission.CATALOGUE_READ,
        writes=False,
        summary="Show a region",
    ),
    Op(
        method="DELETE",
        path="/v1/regions/{region}",
        does=regions.delete,
        permission=Permission.INFRA_WRITE,
        writes=True,
        status=204,
        conditions=False,
        summary="Remove a region from the grid",
        about="At the grid manager alone. Its certificates are worth nothing from then on, and the others forget what"
        " it said; what runs there goes on.",
    ),
    Op(
        method="GET",
        path="/v1/grid",
        does=regions.status,
        permission=Permission.INFRA_READ,
        writes=False,
        name="grid.status",
        summary="Show all regions together: inventory, capacity, load, faults",
    ),
    Op(
        method="POST",
        path="/v1/grid/tokens",
        does=regions.token,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=GridTokenIn,
        status=201,
        name="grid.token",
        secrets=("token",),
        summary="Make a one-time token for a region",
        about="At the grid manager alone.",
        example={"region": "eu-1"},
    ),
    Op(
        method="POST",
        path="/v1/grid/join",
        does=regions.join,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=JoinGridIn,
        prepare=regions.joined,
        dry_run=False,
        name="regions.join",
        summary="Make this cloud a region of a grid",
        example={"grid": "grid.example.org:8444", "token": "join.…", "name": "eu-1"},
    ),
    Op(
        method="POST",
        path="/v1/grid/leave",
        does=regions.leave,
        permission=Permission.INFRA_WRITE,
        writes=True,
        name="regions.leave",
        summary="Leave the grid",
        about="All that was told of other regions is forgotten here; nothing that runs is touched.",
    ),
)
