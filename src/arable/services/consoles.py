"""Consoles: who may open which machine's. The bytes take another way (`api/console.py`)."""

from arable.domain.access import Permission
from arable.domain.console import Visit
from arable.domain.errors import Conflict, Unavailable
from arable.domain.ids import MachineId
from arable.services import elsewhere
from arable.services.call import Call
from arable.store import machines
from arable.wire.consoles import ConsoleOut


def open_console(call: Call, machine: MachineId) -> ConsoleOut:
    """A ticket to the console of a machine that has a host."""
    call.caller.needs(Permission.MACHINE_CONSOLE)
    tickets = call.around.consoles
    if tickets is None:
        raise Unavailable("this management server serves no consoles")
    found = machines.get(call.tx, call.caller.scope, machine)
    if found.host is None:
        raise Conflict("the machine is on no host now, so it has no console; start it first")
    until = call.around.clock.now() + tickets.life
    origin = elsewhere.origin(call.caller)
    ticket = tickets.issue(Visit(call.caller.user, found.id, found.host, origin))
    return ConsoleOut(machine=found.id, ticket=ticket, expires_at=until)
