"""Secrets of farms over HTTP. What is in them goes in and never comes out."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import farm_secrets
from arable.wire.farm_secrets import RotateSecretIn, SecretQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/secrets",
        does=farm_secrets.page,
        permission=Permission.FARM_READ,
        writes=False,
        query=SecretQuery,
        name="secrets.page",
        summary="List the secrets of farms, without what is in them",
    ),
    Op(
        method="GET",
        path="/v1/secrets/{secret}",
        does=farm_secrets.get,
        permission=Permission.FARM_READ,
        writes=False,
        name="secrets.get",
        summary="Show a secret of a farm, without what is in it",
    ),
    Op(
        method="POST",
        path="/v1/secrets/{secret}/rotate",
        does=farm_secrets.rotate,
        permission=Permission.FARM_WRITE,
        writes=True,
        takes=RotateSecretIn,
        name="secrets.rotate",
        summary="Give a secret of a farm another text",
        about="Elements that are made from now on get it; those that are there keep the one that they were made with."
        " Without `contents` it is drawn.",
    ),
)
