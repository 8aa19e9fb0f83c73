"""Elements of tiers over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import elements
from arable.wire.elements import ElementQuery, ElementReplaceIn

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/elements",
        does=elements.page,
        permission=Permission.FARM_READ,
        writes=False,
        query=ElementQuery,
        summary="List elements of tiers",
    ),
    Op(
        method="GET",
        path="/v1/elements/{element}",
        does=elements.get,
        permission=Permission.FARM_READ,
        writes=False,
        summary="Show an element of a tier",
    ),
    Op(
        method="POST",
        path="/v1/elements/{element}/replace",
        does=elements.replace,
        permission=Permission.FARM_WRITE,
        writes=True,
        takes=ElementReplaceIn,
        status=202,
        summary="Give an element another machine",
        about=(
            "Nobody new is led to it, those who are there are waited for, then its machine is erased and another one made. "
            "Its name stays, and where the blueprint says so its addresses and volumes. Refused where fewer would serve "
            "meanwhile than the tier's `least`, unless it is forced."
        ),
        example={"force": True},
    ),
)
