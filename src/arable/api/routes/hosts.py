"""Hosts and join tokens over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import host_power, hosts, removals
from arable.wire.hosts import BmcIn, HostChange, HostQuery, JoinTokenIn, JoinTokenQuery, PowerIn

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
        summary="Show a host, and who sees it",
    ),
    Op(
        method="PATCH",
        path="/v1/hosts/{host}",
        does=hosts.update,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=HostChange,
        summary="Change a host",
        about="Over-commit can't be set below what is reserved. In maintenance, nothing new is placed there, and machines that can move while they run leave it; with `maintenance_stops`, the others are stopped until it is over.",
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
        method="POST",
        path="/v1/hosts/{host}/declare-down",
        does=hosts.declare_down,
        permission=Permission.INFRA_WRITE,
        writes=True,
        summary="Say that a silent host is down",
        about=(
            "For an operator who has made sure that nothing runs there, where the cloud does not take it for down by"
            " itself. Its highly available machines start elsewhere, and it is powered off if it can be."
        ),
    ),
    Op(
        method="POST",
        path="/v1/hosts/{host}/remove-lost",
        does=removals.remove_lost,
        permission=Permission.INFRA_WRITE,
        writes=True,
        name="hosts.remove_lost",
        summary="Remove a host that will never come back",
        about=(
            "For one that is down, or was never heard. None of its certificates counts from then on, and nobody waits for"
            " it any more: disks in its own pool are lost, and their machines are in error and say so; machines with"
            " shared disks can be started elsewhere. When nothing is left of it, it is gone."
        ),
    ),
    Op(
        method="PUT",
        path="/v1/hosts/{host}/bmc",
        does=host_power.set_bmc,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=BmcIn,
        name="hosts.set_bmc",
        summary="Say by what a host's power is switched",
        about=(
            "A management controller that speaks Redfish. A host that is down is powered off by it, so that its highly"
            " available machines can start elsewhere at once, and kept off."
        ),
        example={"url": "https://10.9.0.11", "user": "arable", "password": "correct horse"},
    ),
    Op(
        method="DELETE",
        path="/v1/hosts/{host}/bmc",
        does=host_power.remove_bmc,
        permission=Permission.INFRA_WRITE,
        writes=True,
        status=204,
        name="hosts.remove_bmc",
        summary="Have nobody switch a host's power any more",
    ),
    Op(
        method="POST",
        path="/v1/hosts/{host}/power",
        does=host_power.switch,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=PowerIn,
        name="hosts.power",
        summary="Power a host on or off",
        about=(
            "Off only where nothing runs: it is cut, not asked for. What becomes of it is shown with the host: `bmc`"
            " and `powered_off`."
        ),
        example={"power": "on"},
    ),
    Op(
        method="POST",
        path="/v1/hosts/{host}/sleep",
        does=host_power.sleep,
        permission=Permission.INFRA_WRITE,
        writes=True,
        name="hosts.sleep",
        summary="Power an idle host down until it is needed",
        about=(
            "Only a compute host that has nothing to do. It is `asleep` when it was seen without power, and is woken by"
            " hand, or as soon as machines need it."
        ),
    ),
    Op(
        method="POST",
        path="/v1/hosts/{host}/wake",
        does=host_power.wake,
        permission=Permission.INFRA_WRITE,
        writes=True,
        name="hosts.wake",
        summary="Power a sleeping host on",
        about="It takes machines when its agent is heard.",
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
