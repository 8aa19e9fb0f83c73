"""Volumes over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import volumes
from arable.wire.volumes import VolumeQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/volumes",
        does=volumes.page,
        permission=Permission.VOLUME_READ,
        writes=False,
        summary="List volumes",
        query=VolumeQuery,
    ),
    Op(
        method="GET",
        path="/v1/volumes/{volume}",
        does=volumes.get,
        permission=Permission.VOLUME_READ,
        writes=False,
        summary="Show a volume",
    ),
)
