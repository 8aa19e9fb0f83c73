"""Guest networks over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import networks
from arable.wire.networks import NetworkChange, NetworkIn, NetworkQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/networks",
        does=networks.page,
        permission=Permission.NETWORK_READ,
        writes=False,
        summary="List networks",
        query=NetworkQuery,
    ),
    Op(
        method="POST",
        path="/v1/networks",
        does=networks.create,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Create a network",
        takes=NetworkIn,
        status=201,
        about="It takes a VLAN of the zone, and a public address as its way out if the zone and the account have one to spare; `notice` says when not.",
        example={"name": "back", "cidr": "10.2.0.0/24"},
    ),
    Op(
        method="GET",
        path="/v1/networks/{network}",
        does=networks.get,
        permission=Permission.NETWORK_READ,
        writes=False,
        summary="Show a network",
    ),
    Op(
        method="PATCH",
        path="/v1/networks/{network}",
        does=networks.update,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Change a network",
        takes=NetworkChange,
        example={"name": "front"},
    ),
    Op(
        method="POST",
        path="/v1/networks/{network}/restart",
        does=networks.restart,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Make a network's router anew",
        status=202,
        name="networks.restart",
        about="Machines keep their addresses, and the network its public ones; connections through the router end.",
    ),
    Op(
        method="DELETE",
        path="/v1/networks/{network}",
        does=networks.delete,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Delete a network without machines",
        status=202,
    ),
)
