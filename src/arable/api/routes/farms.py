"""Farms over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import farms
from arable.wire.farms import FarmChange, FarmIn, FarmQuery

_SHOP = {
    "networks": [{"name": "web"}, {"name": "db", "isolated": True}],
    "tiers": [],
}

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/farms",
        does=farms.page,
        permission=Permission.FARM_READ,
        writes=False,
        summary="List farms",
        query=FarmQuery,
    ),
    Op(
        method="GET",
        path="/v1/farms/{farm}",
        does=farms.get,
        permission=Permission.FARM_READ,
        writes=False,
        summary="Show a farm",
    ),
    Op(
        method="POST",
        path="/v1/farms",
        does=farms.create,
        permission=Permission.FARM_WRITE,
        writes=True,
        takes=FarmIn,
        status=202,
        summary="Create a farm by its document",
        about=(
            "Networks, the ways through them and tiers are kept at once, elements follow. Tried (`dry_run`), the answer is "
            "the plan: what would be made, with addresses and limits looked at for real."
        ),
        example={"name": "shop", **_SHOP},
    ),
    Op(
        method="PATCH",
        path="/v1/farms/{farm}",
        does=farms.update,
        permission=Permission.FARM_WRITE,
        writes=True,
        takes=FarmChange,
        status=202,
        summary="Change a farm's document",
        about=(
            "A list that is said is complete: what the farm made and it no longer names is drained and let go. What was "
            "made by hand is left alone."
        ),
        example=_SHOP,
    ),
    Op(
        method="POST",
        path="/v1/farms/{farm}/rotate-keys",
        does=farms.rotate_keys,
        permission=Permission.FARM_WRITE,
        writes=True,
        status=202,
        summary="Give the links between a farm's regions other keys",
        about=(
            "Each end draws a pair of its own, and uses it when the other end goes by both. It happens by itself, too, every "
            "`farm_key_days`."
        ),
    ),
    Op(
        method="DELETE",
        path="/v1/farms/{farm}",
        does=farms.delete,
        permission=Permission.FARM_WRITE,
        writes=True,
        status=202,
        summary="Delete a farm with all that it made",
    ),
)
