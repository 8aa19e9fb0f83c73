"""The management servers over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import control
from arable.wire.control import ServerChoice

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/control",
        does=control.status,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show the management servers",
        about="Who is master and since when, which servers there are, how much each of them has to do and how many"
        " farms it holds, and the last elections.",
    ),
    Op(
        method="POST",
        path="/v1/control/drain",
        does=control.drain,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=ServerChoice,
        summary="Have other servers do a management server's work",
        about="Before it is stopped or restarted: it is no master, holds no farms, sends its hosts' agents to other"
        " servers, and load balancers leave it. It goes on answering. Refused when there is no other server. When it is"
        " started anew, it takes work again.",
        example={"server": "server-0mh5z1x2k3q8"},
    ),
    Op(
        method="POST",
        path="/v1/control/undrain",
        does=control.undrain,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=ServerChoice,
        summary="Let a management server take work again",
        example={"server": "server-0mh5z1x2k3q8"},
    ),
)
