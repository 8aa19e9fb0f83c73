"""Tickets to machines' consoles over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import consoles

OPERATIONS = (
    Op(
        method="POST",
        path="/v1/machines/{machine}/console",
        does=consoles.open_console,
        permission=Permission.MACHINE_CONSOLE,
        writes=True,
        conditions=False,
        status=201,
        secrets=("ticket",),
        dry_run=False,
        name="machines.console",
        summary="Get a ticket to a machine's serial console",
        about="Open `/v1/console/{ticket}` as a websocket within 30 seconds. The ticket works once.",
    ),
)
