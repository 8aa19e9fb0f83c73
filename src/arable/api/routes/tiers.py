"""Tiers over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import tiers
from arable.wire.tiers import TierChange, TierQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/tiers",
        does=tiers.page,
        permission=Permission.FARM_READ,
        writes=False,
        query=TierQuery,
        summary="List tiers with their elements",
    ),
    Op(
        method="GET",
        path="/v1/tiers/{tier}",
        does=tiers.get,
        permission=Permission.FARM_READ,
        writes=False,
        summary="Show a tier with its elements",
    ),
    Op(
        method="PATCH",
        path="/v1/tiers/{tier}",
        does=tiers.update,
        permission=Permission.FARM_WRITE,
        writes=True,
        takes=TierChange,
        status=202,
        summary="Grow or shrink a tier",
        about="The farm's document says the same from then on.",
        example={"count": 2, "most": 5},
    ),
)
