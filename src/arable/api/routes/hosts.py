"""Hosts and join tokens over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import hosts
from arable.wire.hosts import HostChange, HostQuery, JoinTokenIn, JoinTokenQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/hosts",
        does=hosts.page,
        permission=Permission.INFRA_READ,
        writes=False,
        query=HostQuery,
        summary="List hosts",
    ),
    Op(
        method="GET",
        path="/v1/hosts/{host}",
        does=hosts.get,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show a host",
    ),
    Op(
        method="PATCH",
        path="/v1/hosts/{host}",
        does=hosts.update,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=HostChange,
        summary="Change a host",
        about="Over-commit can't be set below what is reserved. In maintenance, nothing new is placed there.",
        example={"maintenance": True},
    ),
    Op(
        method="DELETE",
        path="/v1/hosts/{host}",
        does=hosts.delete,
        permission=Permission.INFRA_WRITE,
        writes=True,
        status=204,
        summary="Remove an empty host",
        about="Its agent is not let in any more, whatever certificate it shows.",
    ),
    Op(
        method="GET",
        path="/v1/join-tokens",
        does=hosts.page_tokens,
        permission=Permission.INFRA_READ,
        writes=False,
        query=JoinTokenQuery,
        name="join_tokens.page",
        summary="List join tokens",
    ),
    Op(
        method="POST",
        path="/v1/join-tokens",
        does=hosts.create_token,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=JoinTokenIn,
        status=201,
        secrets=("token",),
        name="join_tokens.create",
        summary="Create a token that lets one host join, or join anew",
        about=(
            "The token's text is shown this once. It works once, and for a few hours unless said otherwise. With"
            " `host`, it lets that one in anew, which was off for longer than its certificate lives; earlier"
            " certificates of that host are refused from then on, and it keeps its id, its pool and what is there."
        ),
        example={"pod": "a", "roles": ["compute", "routing"]},
    ),
    Op(
        method="DELETE",
        path="/v1/join-tokens/{jointoken}",
        does=hosts.delete_token,
        permission=Permission.INFRA_WRITE,
        writes=True,
        conditions=False,
        status=204,
        name="join_tokens.delete",
        summary="Revoke a join token",
    ),
)
