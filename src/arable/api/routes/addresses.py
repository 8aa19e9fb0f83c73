"""Public addresses over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import addresses
from arable.wire.addresses import AddressChange, AddressIn, AddressQuery, AssociateIn

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/addresses",
        does=addresses.page,
        permission=Permission.NETWORK_READ,
        writes=False,
        summary="List public addresses",
        query=AddressQuery,
    ),
    Op(
        method="POST",
        path="/v1/addresses",
        does=addresses.acquire,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Acquire a public address",
        takes=AddressIn,
        status=201,
        example={"name": "shop"},
    ),
    Op(
        method="GET",
        path="/v1/addresses/{address}",
        does=addresses.get,
        permission=Permission.NETWORK_READ,
        writes=False,
        summary="Show a public address",
    ),
    Op(
        method="PATCH",
        path="/v1/addresses/{address}",
        does=addresses.update,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Name a public address",
        takes=AddressChange,
        example={"name": "front"},
    ),
    Op(
        method="POST",
        path="/v1/addresses/{address}/associate",
        does=addresses.associate,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Give a public address to a network",
        takes=AssociateIn,
        status=202,
        about="The network's routing appliance answers for it from then on. A network's first one is its way out, too.",
        example={"network": "default"},
    ),
    Op(
        method="DELETE",
        path="/v1/addresses/{address}",
        does=addresses.release,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Release a public address",
        status=202,
    ),
)
