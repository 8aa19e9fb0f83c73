"""The global image catalogue over HTTP, as this region knows it."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import catalogue
from arable.wire.catalogue import FetchIn, WhereQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/image-catalogue",
        does=catalogue.where,
        permission=Permission.IMAGE_READ,
        writes=False,
        query=WhereQuery,
        name="images.where",
        summary="Say in which regions an image's versions are",
        about="As this region knows: `known_at` says of when that is. What is in this region itself is always right.",
    ),
    Op(
        method="POST",
        path="/v1/image-catalogue/fetch",
        does=catalogue.fetch,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        takes=FetchIn,
        status=202,
        name="images.fetch",
        summary="Bring an image version from another region",
        about=(
            "Before anybody wants to boot it; a machine that is deployed of an image that is not here brings it by "
            "itself. Only what this region has not got moves, from several regions at once."
        ),
        example={"image": "web", "version": 3},
    ),
)
