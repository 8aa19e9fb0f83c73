"""The management servers over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import control

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
)
