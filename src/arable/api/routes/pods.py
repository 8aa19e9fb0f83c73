"""Pods over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import pods
from arable.wire.pods import PodChange, PodIn, PodQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/pods",
        does=pods.page,
        permission=Permission.INFRA_READ,
        writes=False,
        query=PodQuery,
        summary="List pods",
    ),
    Op(
        method="POST",
        path="/v1/pods",
        does=pods.create,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=PodIn,
        status=201,
        summary="Create a pod",
        example={"zone": "east", "name": "a", "cidr": "10.20.1.0/24", "gateway": "10.20.1.1"},
    ),
    Op(
        method="GET",
        path="/v1/pods/{pod}",
        does=pods.get,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show a pod",
    ),
    Op(
        method="PATCH",
        path="/v1/pods/{pod}",
        does=pods.update,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=PodChange,
        summary="Change a pod",
        example={"enabled": False},
    ),
    Op(
        method="DELETE",
        path="/v1/pods/{pod}",
        does=pods.delete,
        permission=Permission.INFRA_WRITE,
        writes=True,
        status=204,
        summary="Delete an empty pod",
    ),
)
