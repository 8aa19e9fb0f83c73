"""Blueprints over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import blueprints
from arable.wire.blueprints import BlueprintIn, BlueprintQuery, BlueprintVersionIn

_BODY = {
    "image": "tiny",
    "offering": "small",
    "ports": [{"port": 80, "protocol": "http"}],
    "user_data": "#!/bin/sh\necho {{tier.name}} {{element.number}} of {{farm.name}} > /www/index.html\n",
}

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/blueprints",
        does=blueprints.page,
        permission=Permission.FARM_READ,
        writes=False,
        query=BlueprintQuery,
        summary="List blueprints",
    ),
    Op(
        method="POST",
        path="/v1/blueprints",
        does=blueprints.create,
        permission=Permission.FARM_WRITE,
        writes=True,
        takes=BlueprintIn,
        status=201,
        summary="Create a blueprint with its first version",
        example={"name": "web", **_BODY},
    ),
    Op(
        method="GET",
        path="/v1/blueprints/{blueprint}",
        does=blueprints.get,
        permission=Permission.FARM_READ,
        writes=False,
        summary="Show a blueprint with its versions",
    ),
    Op(
        method="POST",
        path="/v1/blueprints/{blueprint}/versions",
        does=blueprints.create_version,
        permission=Permission.FARM_WRITE,
        writes=True,
        takes=BlueprintVersionIn,
        status=201,
        summary="Create the next version of a blueprint",
        about="Versions never change, and tiers stay what they are made of until they are told otherwise.",
        example=_BODY,
    ),
    Op(
        method="DELETE",
        path="/v1/blueprints/{blueprint}",
        does=blueprints.delete,
        permission=Permission.FARM_WRITE,
        writes=True,
        status=204,
        summary="Delete a blueprint that no tier is made of",
    ),
)
