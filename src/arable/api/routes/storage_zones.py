"""Storage zones over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import storage_zones
from arable.wire.storage_zones import StorageZoneIn, StorageZoneQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/storage-zones",
        does=storage_zones.page,
        permission=Permission.VOLUME_READ,
        writes=False,
        summary="List storage zones that farms share",
        query=StorageZoneQuery,
    ),
    Op(
        method="POST",
        path="/v1/storage-zones",
        does=storage_zones.create,
        permission=Permission.VOLUME_WRITE,
        writes=True,
        summary="Create a storage zone for several farms",
        takes=StorageZoneIn,
        status=201,
        about="A farm that is made with it reaches the volumes in it, and no others. "
        "One that is made without has a storage zone of its own.",
        example={"name": "books"},
    ),
    Op(
        method="GET",
        path="/v1/storage-zones/{storagezone}",
        does=storage_zones.get,
        permission=Permission.VOLUME_READ,
        writes=False,
        summary="Show a storage zone",
    ),
    Op(
        method="DELETE",
        path="/v1/storage-zones/{storagezone}",
        does=storage_zones.delete,
        permission=Permission.VOLUME_WRITE,
        writes=True,
        conditions=False,
        summary="Delete a storage zone",
        status=204,
        about="Only one that no farm has, and in which no volume is.",
    ),
)
